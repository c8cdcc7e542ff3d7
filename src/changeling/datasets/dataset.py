"""A dataset folder: images.parquet, captions.parquet and the files that are made from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from changeling.datasets.schema import (
    CAPTIONS_SCHEMA,
    IMAGES_SCHEMA,
    SPLITS,
    CaptionRow,
    ImageRow,
    Role,
    Split,
    check_generator_name,
)
from changeling.errors import DatasetError, Status
from changeling.files import StrPath, atomic_write


class Dataset:
    """An existing dataset folder. Columns are read once and cached.

    Attributes:
        path: the folder.
        images: images.parquet, in its order, as an Arrow table.
    """

    def __init__(self, path: StrPath) -> None:
        """Open the folder. Raises DatasetError if it is not a dataset or its rows contradict each other."""
        self.path = Path(path)
        self.images = _read_table(self.path / "images.parquet", IMAGES_SCHEMA)
        self._columns: dict[str, NDArray[Any]] = {}
        self._row_hashes: dict[int, list[str]] = {}
        _check_images(self.path / "images.parquet", self.images)

    def __len__(self) -> int:
        return int(self.images.num_rows)

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self.path,)  # only the path is pickled: the tables are read again

    @cached_property
    def captions(self) -> pa.Table:
        """captions.parquet; no rows if there is no such file. Raises DatasetError if it cannot be read."""
        path = self.path / "captions.parquet"
        if not path.exists():
            return CAPTIONS_SCHEMA.empty_table()
        table = _read_table(path, CAPTIONS_SCHEMA)
        _check_no_empty_cells(path, table, table.column_names)
        return table

    def column(self, name: str) -> NDArray[Any]:
        """A column of images.parquet as a numpy array; text columns hold str or None."""
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
        """Twelve hexadecimal digits of a hash over ids, roles, generators, splits and file hashes."""
        digest = hashlib.sha256()
        names = ("image_id", "cluster_id", "role", "generator", "split", "sha256")
        for row in zip(*(self.images[name].to_pylist() for name in names), strict=True):
            digest.update(repr(row).encode())
        return digest.hexdigest()[:12]

    def hash_rows(self, range_size: int) -> list[str]:
        """For each range of `range_size` rows, twelve hexadecimal digits over its ids and file hashes; cached."""
        if range_size not in self._row_hashes:
            ids, file_hashes = (self.images[name].to_pylist() for name in ("image_id", "sha256"))
            ranges = [slice(start, start + range_size) for start in range(0, len(self), range_size)]
            self._row_hashes[range_size] = [_hash_rows(ids[rows], file_hashes[rows]) for rows in ranges]
        return self._row_hashes[range_size]

    def resolve_path(self, path: str) -> Path:
        """The location of an image file whose row has this `path`."""
        return self.path / path


def write_dataset(path: Path, images: Iterable[ImageRow], captions: Iterable[CaptionRow] = ()) -> Dataset:
    """Write both tables atomically and open the dataset.

    Raises:
        DatasetError: no images, a repeated image_id, a cluster in two splits, or a reserved generator name.
    """
    rows = list(images)
    _check_rows(rows)
    _write_table(path / "captions.parquet", CAPTIONS_SCHEMA, list(captions))
    _write_table(path / "images.parquet", IMAGES_SCHEMA, rows)  # last: a folder with images.parquet is a dataset
    return Dataset(path)


def assign_split(cluster_id: str, val: float = 0.15, test: float = 0.15, seed: int = 0) -> Split:
    """Draw the split of a cluster from a hash of its id, independent of the machine and of the other clusters.

    `val` and `test` are the probabilities of these splits. Each seed gives other splits.
    """
    drawn_from = f"{seed}/{cluster_id}" if seed else cluster_id
    draw = int.from_bytes(hashlib.sha256(drawn_from.encode()).digest()[:8], "big") / 2**64
    return "test" if draw < test else "val" if draw < test + val else "train"


def _hash_rows(ids: list[str], file_hashes: list[str | None]) -> str:
    return hashlib.sha256(json.dumps([ids, file_hashes]).encode()).hexdigest()[:12]


def _check_rows(rows: Sequence[ImageRow]) -> None:
    """Raise DatasetError for rows that must not be written."""
    if not rows:
        raise DatasetError("no images to import")
    image_ids: set[str] = set()
    splits: dict[str, str] = {}
    for row in rows:
        if row.image_id in image_ids:
            raise DatasetError(f"two images are called {row.image_id}")
        image_ids.add(row.image_id)
        if splits.setdefault(row.cluster_id, row.split) != row.split:
            raise DatasetError(
                f"cluster {row.cluster_id} is both in {splits[row.cluster_id]} and in {row.split}; "
                "train and test must not share a cluster"
            )
        if row.role == "child":
            check_generator_name(row.generator, f"image {row.image_id}")


def _check_images(path: Path, images: pa.Table) -> None:
    """Raise DatasetError for an images.parquet that no experiment could use."""
    if not images.num_rows:
        raise DatasetError(f"{path} has no images")
    _check_no_empty_cells(path, images, ("image_id", "cluster_id", "path", "source"))
    for name, allowed in (("role", get_args(Role)), ("split", SPLITS), ("status", get_args(Status))):
        invalid = set(images[name].unique().to_pylist()) - set(allowed)
        if invalid:
            raise DatasetError(f"{path}: {name} is {invalid.pop()!r}, not one of {', '.join(allowed)}")
    generators = images.filter(pc.equal(images["role"], "child"))["generator"].unique().to_pylist()
    if None in generators:
        raise DatasetError(f"{path}: a child has no generator; write 'unknown' if it is not known")
    for generator in generators:
        check_generator_name(generator, str(path))
    if pc.count_distinct(images["image_id"], mode="all").as_py() < images.num_rows:
        raise DatasetError(f"{path}: two rows have the same image_id")
    pairs = images.group_by(["cluster_id", "split"]).aggregate([]).num_rows
    if pairs > pc.count_distinct(images["cluster_id"], mode="all").as_py():
        raise DatasetError(f"{path}: a cluster is in two splits; train and test must not share a cluster")


def _check_no_empty_cells(path: Path, table: pa.Table, names: Iterable[str]) -> None:
    for name in names:
        if table[name].null_count:
            raise DatasetError(f"{path}: {name} has empty cells")


def _write_table(path: Path, schema: pa.Schema, rows: Sequence[ImageRow] | Sequence[CaptionRow]) -> None:
    with atomic_write(path) as temporary:
        columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
        pq.write_table(pa.table(columns, schema=schema), temporary)


def _describe_missing_table(path: Path) -> str:
    """Why the folder of a table is not a dataset."""
    if path.parent.is_dir():
        return f"is not a dataset: it has no {path.name}"
    if path.parent.exists():
        return "is a file, not a dataset; name the dataset's folder"
    return "does not exist; `changeling import` and `changeling build` make datasets"


def _read_table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(f"{path.parent} {_describe_missing_table(path)}") from None
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path} has no column {', '.join(missing)}")
    try:
        return table.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise DatasetError(f"{path} has a column of the wrong type: {error}") from None
