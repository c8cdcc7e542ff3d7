"""The dataset folder: what is written is read again, and what is not a dataset says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from changeling.datasets.dataset import Dataset, assign_split, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError

PARENT = ImageRow("a", "c1", "parent", "a.jpg", "train", width=3, height=2, sha256="00")
CHILD = ImageRow("b", "c1", "child", "b.jpg", "train", caption_index=0, generator="sd", seed=7)
OTHER = ImageRow("z", "c0", "parent", "z.jpg", "test", status="missing", error="no such file")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_dataset(tmp_path, [PARENT, CHILD, OTHER], [CaptionRow("c1", 0, "a cat")])
    dataset = Dataset(tmp_path)
    assert [ImageRow(**row) for row in dataset.images.to_pylist()] == [PARENT, CHILD, OTHER]
    assert dataset.captions.to_pylist() == [{"cluster_id": "c1", "caption_index": 0, "caption": "a cat"}]
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.clusters.tolist() == [0, 0, 1]  # by first appearance, not by name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.parquet", "images.parquet"]


def test_the_hash_sees_what_the_numbers_rest_on(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "1", [PARENT, CHILD]).hash
    assert first == write_dataset(tmp_path / "2", [PARENT, CHILD]).hash
    moved = write_dataset(tmp_path / "3", [replace(PARENT, path="elsewhere/a.jpg"), CHILD]).hash
    assert first == moved
    fake = replace(PARENT, role="child", generator="x")
    for changed in (replace(PARENT, sha256="01"), fake, replace(PARENT, cluster_id="c1x")):
        assert first != write_dataset(tmp_path / repr(changed)[:9], [changed, CHILD]).hash
        (tmp_path / repr(changed)[:9] / "images.parquet").unlink()


def test_a_split_never_parts_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cluster c1 is both in train and in test"):
        write_dataset(tmp_path, [PARENT, replace(CHILD, split="test")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rows", "message"), [([], "no images"), ([PARENT, PARENT], "two images are called a")])
def test_nonsense_is_not_written(rows: list[ImageRow], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        write_dataset(tmp_path, rows)


def test_splits_are_drawn_by_name_alone_in_the_asked_shares() -> None:
    drawn = [assign_split(f"coco_{number}") for number in range(4000)]
    assert drawn == [assign_split(f"coco_{number}") for number in range(4000)]
    shares = {split: np.mean([d == split for d in drawn]) for split in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.70, "val": 0.15, "test": 0.15}, abs=0.02)


def test_what_is_not_a_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is not a dataset: it has no images\.parquet"):
        Dataset(tmp_path)
    with pytest.raises(DatasetError, match="absent does not exist; `changeling import`"):
        Dataset(tmp_path / "absent")
    (tmp_path / "images.parquet").write_bytes(b"not parquet")
    with pytest.raises(DatasetError, match="is a file, not a dataset; name the dataset's folder"):
        Dataset(tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match="cannot be read"):
        Dataset(tmp_path)
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match="has no column cluster_id"):
        Dataset(tmp_path)


def test_a_column_of_the_wrong_type_says_so(tmp_path: Path) -> None:
    write_dataset(tmp_path, [PARENT])
    table = pq.read_table(tmp_path / "images.parquet")
    bad = table.set_column(table.column_names.index("width"), "width", pa.array(["wide"]))
    pq.write_table(bad, tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match="a column of the wrong type"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        *(("images", name, None, f"{name} has empty cells") for name in ("image_id", "cluster_id", "path", "source")),
        ("images", "status", "fine", "status is 'fine', not one of ok, missing"),
        ("images", "status", None, "status is None, not one of ok"),
        *(("captions", name, None, f"{name} has empty cells") for name in ("cluster_id", "caption_index", "caption")),
    ],
)
def test_a_cell_that_makes_no_sense_says_where(
    table: str, column: str, value: str | None, message: str, tmp_path: Path
) -> None:
    write_dataset(tmp_path, [PARENT, OTHER], [CaptionRow("c1", 0, "a cat"), CaptionRow("c1", 1, "a tom")])
    path = tmp_path / f"{table}.parquet"
    rows = pq.read_table(path)
    changed = [row | ({column: value} if number else {}) for number, row in enumerate(rows.to_pylist())]
    pq.write_table(pa.Table.from_pylist(changed, rows.schema), path)
    with pytest.raises(DatasetError, match=rf"{table}\.parquet: {message}"):
        assert len(Dataset(tmp_path).captions)


def test_no_images_are_no_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path, [PARENT])
    pq.write_table(pq.read_table(tmp_path / "images.parquet").slice(0, 0), tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match=r"images\.parquet has no images"):
        Dataset(tmp_path)


def test_a_generator_with_the_reserved_name_is_refused(tmp_path: Path) -> None:
    reserved = replace(CHILD, generator="all")
    with pytest.raises(DatasetError, match=r"^image b: the generator is called 'all', .*; rename it$"):
        write_dataset(tmp_path, [PARENT, reserved])
    assert not list(tmp_path.iterdir())
    write_dataset(tmp_path, [PARENT, CHILD])
    table = pq.read_table(tmp_path / "images.parquet")
    rows = [row | {"generator": row["generator"] and "all"} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match=r"images\.parquet: the generator is called 'all', .*; rename it$"):
        Dataset(tmp_path)
