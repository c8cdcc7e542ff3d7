from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from changeling.build.parts import PARENTS
from changeling.parts import PartStore, replace_separators, unique_folder_name

names = st.text(min_size=1, max_size=20) | st.text("./\\ aA_-~:%", min_size=1, max_size=6)


class NumberHeader(BaseModel):
    """The header of a part of numbers."""

    name: str


class NumberFormat:
    """Part files of numbers: a line with the header, a line for each number."""

    suffix = ".txt"

    def write(self, path: Path, header: NumberHeader, content: list[int]) -> None:
        """Write a part file; -1 stands for a full disk."""
        path.write_text("\n".join([header.model_dump_json(), *map(str, content)]))
        if -1 in content:
            raise OSError("the disk is full")

    def read_header(self, path: Path) -> NumberHeader:
        """The first line."""
        return NumberHeader.model_validate_json(path.read_text().splitlines()[0])

    def read(self, path: Path) -> list[int]:
        """The other lines."""
        return [int(line) for line in path.read_text().splitlines()[1:]]


def number_parts(folder: Path, row_count: int = 7) -> PartStore[NumberHeader, list[int]]:
    return PartStore(folder / "numbers", NumberFormat(), row_count, part_size=3)


@pytest.mark.parametrize(
    ("row_count", "ranges"),
    [(0, []), (1, [(0, 1)]), (3, [(0, 3)]), (4, [(0, 3), (3, 4)]), (7, [(0, 3), (3, 6), (6, 7)])],
)
def test_parts_cover_all_rows_in_order(row_count: int, ranges: list[tuple[int, int]], tmp_path: Path) -> None:
    parts = number_parts(tmp_path, row_count)
    assert [parts.row_range(index) for index in parts.indices] == ranges
    assert parts.count_rows(parts.indices) == row_count


def test_written_part_is_read(tmp_path: Path) -> None:
    parts = number_parts(tmp_path)
    parts.write(1, NumberHeader(name="b"), [3, 4, 5])
    assert parts.read_header(1) == NumberHeader(name="b")
    assert parts.read(1) == [3, 4, 5]
    assert list(parts.folder.iterdir()) == [parts.folder / "part-00001.txt"]


def test_parts_that_are_not_written_are_missing(tmp_path: Path) -> None:
    parts = number_parts(tmp_path)
    assert parts.missing == [0, 1, 2]
    parts.write(1, NumberHeader(name="b"), [3, 4, 5])
    assert parts.missing == [0, 2]
    assert parts.count_rows(parts.missing) == 4
    parts.remove(1)
    parts.remove(1)
    assert parts.missing == [0, 1, 2]


def test_failed_write_keeps_the_existing_part(tmp_path: Path) -> None:
    parts = number_parts(tmp_path)
    parts.write(0, NumberHeader(name="a"), [0, 1, 2])
    with pytest.raises(OSError, match="disk is full"):
        parts.write(0, NumberHeader(name="b"), [-1])
    assert (parts.read_header(0).name, parts.read(0)) == ("a", [0, 1, 2])
    assert list(parts.folder.iterdir()) == [parts.path(0)]


def test_slashes_and_colons_become_underscores() -> None:
    assert replace_separators("open_clip:ViT-B-32/openai@pre+view-1") == "open_clip_ViT-B-32_openai@pre+view-1"


@given(first=names, second=names)
def test_different_names_have_different_folders(first: str, second: str) -> None:
    assert (unique_folder_name(first) == unique_folder_name(second)) == (first == second)


@given(name=names.filter(lambda name: unique_folder_name(name) != name))
def test_folder_name_used_as_a_name_has_another_folder(name: str) -> None:
    assert unique_folder_name(unique_folder_name(name)) != unique_folder_name(name)


@given(name=names)
def test_folder_name_is_safe(name: str) -> None:
    folder = unique_folder_name(name)
    assert folder
    assert not set(folder) & set('/\\:*?"<>|% \n\0')
    assert not folder.startswith(".")
    assert (folder == PARENTS) == (name == PARENTS)
    assert (Path("/build") / folder).resolve().parent == Path("/build")


@pytest.mark.parametrize("name", ["stable-diffusion-v1.4", "reconstruction-sd1", "mine_2"])
def test_plain_name_is_its_own_folder_name(name: str) -> None:
    assert unique_folder_name(name) == name


def test_folder_names_of_earlier_builds_are_unchanged() -> None:
    assert unique_folder_name("tiny vae") == "tiny_vae~f34a5a"
    assert unique_folder_name(".a/b") == "a_b~be9e7e"


def test_folder_of_a_long_name_can_be_created(tmp_path: Path) -> None:
    name = "ü" * 300
    (tmp_path / unique_folder_name(name)).mkdir()
    assert unique_folder_name(name) != unique_folder_name(name + "ü")
