"""Part files of builds: their bytes, their errors, and joining them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.build.parts import (
    BuildHeader,
    BuildPartFormat,
    BuildParts,
    build_parts,
    count_written_rows,
    hash_sources,
    image_path,
    join_parts,
    to_table,
)
from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import IMAGES_SCHEMA, ImageRow
from changeling.errors import BuildError

HEADER = BuildHeader(made_of="0123456789ab", batch=3, device="NVIDIA H100")


def image_rows(start: int, count: int) -> list[ImageRow]:
    return [
        ImageRow(f"i{n}", f"c{n}", "parent", f"{n}.jpg", "train", seed=2**62 + n, width=n)
        for n in range(start, start + count)
    ]


def written_parts(output: Path, name: str, image_count: int) -> BuildParts:
    """Parts of two images, all written."""
    parts = build_parts(output, name, image_count, part_size=2)
    for index in parts.indices:
        start, stop = parts.row_range(index)
        parts.write(index, HEADER, to_table(image_rows(start, stop - start)))
    return parts


def test_header_and_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    parts = build_parts(tmp_path, "sd", 7, part_size=2)
    rows = [*image_rows(6, 1), ImageRow("f", "c", "child", "", "test", generator="sd", status="flagged", error="why")]
    parts.write(3, HEADER, to_table(rows))
    assert parts.read_header(3) == HEADER
    assert [ImageRow(**row) for row in parts.read(3).to_pylist()] == rows
    assert parts.path(3) == tmp_path / "build" / "sd" / "part-00003.parquet"
    assert list(parts.folder.iterdir()) == [parts.path(3)]


def test_the_header_is_stored_as_json_in_the_parquet_metadata(tmp_path: Path) -> None:
    parts = written_parts(tmp_path, "sd", 1)
    metadata = pq.read_schema(parts.path(0)).metadata
    assert metadata == {b"changeling": b'{"made_of":"0123456789ab","batch":3,"device":"NVIDIA H100"}'}


def test_equal_parts_have_equal_bytes(tmp_path: Path) -> None:
    first, second = (written_parts(tmp_path, name, 2) for name in ("a", "b"))
    assert first.path(0).read_bytes() == second.path(0).read_bytes()


def test_rows_of_a_written_part_are_counted(tmp_path: Path) -> None:
    written_parts(tmp_path, "sd", 3)
    extended = build_parts(tmp_path, "sd", 4, part_size=2)
    assert [count_written_rows(extended, index) for index in extended.indices] == [2, 1]
    extended.path(1).write_bytes(b"no part")
    with pytest.raises(BuildError, match=r"part-00001.parquet cannot be read .*; remove it and build again"):
        count_written_rows(extended, 1)


@pytest.mark.parametrize("count", [1, 64, 65, 150])
def test_parts_are_joined_in_order(count: int, tmp_path: Path) -> None:
    join_parts([written_parts(tmp_path, "sd", 2 * count)], tmp_path / "images.parquet")
    joined = pq.read_table(tmp_path / "images.parquet")
    assert joined.schema.equals(IMAGES_SCHEMA, check_metadata=True)
    assert [ImageRow(**row) for row in joined.to_pylist()] == image_rows(0, 2 * count)
    row_groups = pq.ParquetFile(tmp_path / "images.parquet").num_row_groups
    assert row_groups == -(-count // 64)  # no more than 64 parts are held in memory
    assert len(Dataset(tmp_path)) == 2 * count


def test_a_part_with_other_columns_is_not_joined(tmp_path: Path) -> None:
    good, bad = written_parts(tmp_path, "good", 2), build_parts(tmp_path, "bad", 2)
    bad.folder.mkdir()
    pq.write_table(pa.table({"x": [1]}), bad.path(0))
    with pytest.raises(BuildError, match=r"bad.part-00000.parquet cannot be read .*; remove it and build again"):
        join_parts([good, bad], tmp_path / "images.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("how", ["empty", "cut", "text", "folder", "missing", "no header", "other header"])
def test_the_error_for_a_broken_part_is_one_line_with_its_path(how: str, tmp_path: Path) -> None:
    parts = written_parts(tmp_path, "sd", 2)
    path = parts.path(0)
    complete = path.read_bytes()
    path.unlink()
    match how:
        case "folder":
            path.mkdir()
        case "no header":
            pq.write_table(IMAGES_SCHEMA.empty_table(), path)
        case "other header":
            pq.write_table(IMAGES_SCHEMA.empty_table().replace_schema_metadata({"changeling": '{"made": 1}'}), path)
        case "empty" | "cut" | "text":
            path.write_bytes({"empty": b"", "cut": complete[: len(complete) // 2], "text": b"not a part " * 40}[how])
    part_format = BuildPartFormat()
    readers = (part_format.read_header,) if "header" in how else (part_format.read_header, part_format.read)
    for reader in readers:
        with pytest.raises(BuildError) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path} ")
        assert str(caught.value).endswith("; remove it and build again")
        assert "\n" not in str(caught.value)


def test_a_folder_of_images_holds_a_thousand() -> None:
    assert image_path("sd", 999, ".jpg") == "images/sd/0000/0000999.jpg"
    assert image_path("sd", 1000, ".png") == "images/sd/0001/0001000.png"
    assert image_path("sd", 616_434, ".jpg") == "images/sd/0616/0616434.jpg"


@given(first=st.lists(st.text(max_size=4)), second=st.lists(st.text(max_size=4)))
def test_different_sources_have_different_hashes(first: list[str], second: list[str]) -> None:
    assert (hash_sources("record", first) == hash_sources("record", second)) == (first == second)
    assert len(hash_sources(first)) == 12
