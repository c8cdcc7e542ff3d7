"""A dataset is a folder: images.parquet, captions.parquet and what is made from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from changeling.errors import DatasetError, Status
from changeling.files import whole

Role = Literal["parent", "child"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of images.parquet. `path` is relative to the dataset folder, or absolute."""

    image_id: str
    cluster_id: str
    role: Role
    path: str
    split: Split
    source: str = ""  # where it was taken from: what a detector's evaluation leaves out as a whole
    caption_index: int | None = None  # which caption a child was made from
    generator: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    sha256: str | None = None
    seed: int | None = None
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One row of captions.parquet."""

    cluster_id: str
    caption_index: int
    caption: str


_ARROW = {"int | None": pa.int64(), "int": pa.int64()}


def _schema(row: type) -> pa.Schema:
    return pa.schema([(field.name, _ARROW.get(str(field.type), pa.string())) for field in fields(row)])


IMAGES_SCHEMA = _schema(ImageRow)
CAPTIONS_SCHEMA = _schema(CaptionRow)


class Dataset:
    """A dataset folder that exists. Columns are read once and cached.

    Attributes:
        path: the folder.
        images: images.parquet, in its order, as an Arrow table.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder. Raises DatasetError if it is not a dataset."""
        self.path = path
        self.images = _read(path / "images.parquet", IMAGES_SCHEMA)
        self._columns: dict[str, NDArray[Any]] = {}
        self._check()

    def __len__(self) -> int:
        return int(self.images.num_rows)

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self.path,)  # pickled, it is its path: the tables lie there

    @cached_property
    def captions(self) -> pa.Table:
        """captions.parquet; no rows if there is none. Raises DatasetError if it is not what it should be."""
        path = self.path / "captions.parquet"
        if not path.exists():
            return CAPTIONS_SCHEMA.empty_table()
        table = _read(path, CAPTIONS_SCHEMA)
        _check_full(path, table, table.column_names)
        return table

    def column(self, name: str) -> NDArray[Any]:
        """A column of images.parquet as a numpy array: of objects, strings or None."""
        if name not in self._columns:
            self._columns[name] = np.asarray(self.images[name].to_numpy(zero_copy_only=False))
        return self._columns[name]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """0 for a parent, 1 for a child (N,)."""
        return np.asarray(self.column("role") == "child", dtype=np.int64)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """The number of each image's cluster (N,), in order of first appearance."""
        _, first, inverse = np.unique(self.column("cluster_id"), return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        clusters: NDArray[np.int64] = rank[inverse]
        return clusters

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits over ids, roles, splits and file hashes: equal where datasets are equal."""
        digest = hashlib.sha256()
        names = ("image_id", "cluster_id", "role", "generator", "split", "sha256")
        for row in zip(*(self.images[name].to_pylist() for name in names), strict=True):
            digest.update(repr(row).encode())
        return digest.hexdigest()[:12]

    def _check(self) -> None:
        """Raise DatasetError for what no experiment could make sense of."""
        table, images = self.path / "images.parquet", self.images
        if not len(self):
            raise DatasetError(f"{table} has no images")
        _check_full(table, images, ("image_id", "cluster_id", "path", "source"))
        for name, allowed in (("role", get_args(Role)), ("split", SPLITS), ("status", get_args(Status))):
            strange = set(images[name].unique().to_pylist()) - set(allowed)
            if strange:
                raise DatasetError(f"{table}: {name} is {strange.pop()!r}, not one of {', '.join(allowed)}")
        if pc.any(pc.and_(pc.equal(images["role"], "child"), pc.is_null(images["generator"]))).as_py():
            raise DatasetError(f"{table}: a child has no generator; write 'unknown' if it is")
        if pc.count_distinct(images["image_id"], mode="all").as_py() < len(self):
            raise DatasetError(f"{table}: image_id repeats")
        pairs = images.group_by(["cluster_id", "split"]).aggregate([]).num_rows
        if pairs > pc.count_distinct(images["cluster_id"], mode="all").as_py():
            raise DatasetError(f"{table}: a cluster is in two splits; train and test must not share a cluster")

    def file(self, path: str) -> Path:
        """Where an image file is: its `path`, from the dataset folder."""
        return self.path / path


def write_dataset(path: Path, images: Iterable[ImageRow], captions: Iterable[CaptionRow] = ()) -> Dataset:
    """Write the two tables, each whole or not at all, and open the dataset.

    Raises:
        DatasetError: no images, ids that repeat, or a cluster that two splits share.
    """
    rows = list(images)
    _check(rows)
    _write(path / "captions.parquet", CAPTIONS_SCHEMA, list(captions))
    _write(path / "images.parquet", IMAGES_SCHEMA, rows)  # last: a folder with images.parquet is a dataset
    return Dataset(path)


def assign_split(cluster_id: str, val: float = 0.15, test: float = 0.15) -> Split:
    """Draw a cluster's split from a hash of its id: the same on every machine, in any order."""
    draw = int.from_bytes(hashlib.sha256(cluster_id.encode()).digest()[:8], "big") / 2**64
    return "test" if draw < test else "val" if draw < test + val else "train"


def _check(rows: Sequence[ImageRow]) -> None:
    if not rows:
        raise DatasetError("no images to import")
    seen: set[str] = set()
    splits: dict[str, str] = {}
    for row in rows:
        if row.image_id in seen:
            raise DatasetError(f"two images are called {row.image_id}")
        seen.add(row.image_id)
        if splits.setdefault(row.cluster_id, row.split) != row.split:
            raise DatasetError(
                f"cluster {row.cluster_id} is both in {splits[row.cluster_id]} and in {row.split}; "
                "train and test must not share a cluster"
            )


def _check_full(path: Path, table: pa.Table, names: Iterable[str]) -> None:
    for name in names:
        if table[name].null_count:
            raise DatasetError(f"{path}: {name} has empty cells")


def _write(path: Path, schema: pa.Schema, rows: Sequence[ImageRow] | Sequence[CaptionRow]) -> None:
    with whole(path) as temporary:
        columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
        pq.write_table(pa.table(columns, schema=schema), temporary)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise DatasetError(f"{path.parent} is not a dataset: it has no {path.name}") from None
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path} has no column {', '.join(missing)}")
    try:
        return table.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise DatasetError(f"{path} has a column of the wrong type: {error}") from None
