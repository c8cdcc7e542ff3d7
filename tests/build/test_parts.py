"""Parts on disk: what is written is read, joined in order, under names that no two generators share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.build import parts
from changeling.build.parts import (
    PARENTS,
    Header,
    count_parts,
    image_path,
    join_parts,
    made_of,
    part_path,
    read_header,
    read_part,
    slug,
    write_part,
)
from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import IMAGES_SCHEMA, ImageRow
from changeling.errors import BuildError

HEADER = Header(made_of="0123456789ab", batch=3, device="a GPU of somebody")
names = st.text(min_size=1, max_size=20) | st.text("./\\ aA_-~:%", min_size=1, max_size=6)


def rows(start: int, count: int) -> list[ImageRow]:
    return [
        ImageRow(f"i{n}", f"c{n}", "parent", f"{n}.jpg", "train", seed=2**62 + n, width=n)
        for n in range(start, start + count)
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = part_path(tmp_path, "sd", 3)
    flagged = ImageRow("f", "c", "child", "", "test", generator="sd", status="flagged", error="it was")
    write_part(path, HEADER, [*rows(0, 2), flagged])
    assert read_header(path) == HEADER
    assert [ImageRow(**row) for row in read_part(path).to_pylist()] == [*rows(0, 2), flagged]
    assert path == tmp_path / "build" / "sd" / "part-00003.parquet"
    assert list(path.parent.iterdir()) == [path]


def test_the_same_part_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_part(tmp_path / name, HEADER, rows(0, 5))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("count", [1, 64, 65, 150])
def test_parts_are_joined_in_order(count: int, tmp_path: Path) -> None:
    paths = [part_path(tmp_path, "sd", index) for index in range(count)]
    for index, path in enumerate(paths):
        write_part(path, HEADER, rows(2 * index, 2))
    join_parts(paths, tmp_path / "images.parquet")
    joined = pq.read_table(tmp_path / "images.parquet")
    assert joined.schema.equals(IMAGES_SCHEMA, check_metadata=True)
    assert [ImageRow(**row) for row in joined.to_pylist()] == rows(0, 2 * count)
    assert pq.ParquetFile(tmp_path / "images.parquet").num_row_groups == -(-count // 64)  # of what is held at once
    assert len(Dataset(tmp_path)) == 2 * count


def test_a_part_of_others_rows_is_not_joined(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    write_part(good, HEADER, rows(0, 2))
    pq.write_table(pa.table({"x": [1]}), bad)
    with pytest.raises(BuildError, match=r"bad cannot be read .*; remove it and build again"):
        join_parts([good, bad], tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet").exists()
    assert sorted(tmp_path.iterdir()) == [bad, good]


@pytest.mark.parametrize("how", ["empty", "cut", "text", "a folder", "gone", "no header", "another header"])
def test_broken_parts_are_named_in_one_line(how: str, tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    write_part(path, HEADER, rows(0, 2))
    whole = path.read_bytes()
    path.unlink()
    match how:
        case "a folder":
            path.mkdir()
        case "no header":
            pq.write_table(IMAGES_SCHEMA.empty_table(), path)
        case "another header":
            pq.write_table(IMAGES_SCHEMA.empty_table().replace_schema_metadata({"changeling": '{"made": 1}'}), path)
        case "empty" | "cut" | "text":
            path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a part " * 40}[how])
    readers = (read_header,) if "header" in how else (read_header, read_part)
    for reader in readers:
        with pytest.raises(BuildError) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path} ")
        assert str(caught.value).endswith("; remove it and build again")
        assert "\n" not in str(caught.value)


@given(name=names, other=names)
def test_no_two_generators_share_a_folder(name: str, other: str) -> None:
    assert (slug(name) == slug(other)) == (name == other)


@given(name=names.filter(lambda name: slug(name) != name))
def test_nor_does_one_that_is_called_like_the_folder_of_another(name: str) -> None:
    assert slug(slug(name)) != slug(name)


@given(name=names)
def test_a_folder_is_safe(name: str) -> None:
    made = slug(name)
    assert made
    assert not set(made) & set('/\\:*?"<>|% \n\0')
    assert not made.startswith(".")
    assert (made == PARENTS) == (name == PARENTS)
    assert (Path("/build") / made).resolve().parent == Path("/build")


@pytest.mark.parametrize("name", ["stable-diffusion-v1.4", "reconstruction-sd1", "mine_2"])
def test_a_plain_name_is_its_own_folder(name: str) -> None:
    assert slug(name) == name


def test_a_long_name_makes_a_folder(tmp_path: Path) -> None:
    name = "ü" * 300
    (tmp_path / slug(name)).mkdir()
    assert slug(name) != slug(name + "ü")


def test_images_are_a_thousand_a_folder() -> None:
    assert image_path("sd", 999, ".jpg") == "images/sd/0000/0000999.jpg"
    assert image_path("sd", 1000, ".png") == "images/sd/0001/0001000.png"
    assert image_path("sd", 616_434, ".jpg") == "images/sd/0616/0616434.jpg"


@pytest.mark.parametrize(("images", "count"), [(0, 0), (1, 1), (parts.PART, 1), (parts.PART + 1, 2)])
def test_parts_hold_all_images(images: int, count: int) -> None:
    assert count_parts(images) == count


@given(one=st.lists(st.text(max_size=4)), other=st.lists(st.text(max_size=4)))
def test_what_parts_are_made_of_is_told_apart(one: list[str], other: list[str]) -> None:
    assert (made_of("record", one) == made_of("record", other)) == (one == other)
    assert len(made_of(one)) == 12
