"""Carry a dataset to others: its images, rows and captions in shards, which `changeling import` makes whole again."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from changeling.datasets.dataset import Dataset
from changeling.datasets.image_files import suffix
from changeling.datasets.schema import IMAGES_SCHEMA
from changeling.errors import DatasetError, ImageError
from changeling.files import atomic_write
from changeling.images.decode import read_file
from changeling.progress import Progress, tracked

MANIFEST, CAPTIONS, GENERATORS = "changeling.json", "captions/captions.parquet", "generators.json"
FIELDS: tuple[str, ...] = tuple(name for name in IMAGES_SCHEMA.names if name != "path")  # the path is left behind
SHARD_BYTES = 500_000_000
_ROW_BYTES = 2048  # about what a row takes beside its image
_AT_ONCE = 4096  # rows, without their images


class Manifest(BaseModel):
    """What `changeling.json` says, written last: that the folder is an export, and whole."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    images: int


@dataclass(frozen=True, slots=True)
class Carried:
    """An image on its way.

    Attributes:
        row: its place in images.parquet.
        fields: its row there, without the path.
        data: the bytes of its file; None if its status is not ok.
        caption: a child's own.
        captions: its cluster's.
    """

    row: int
    fields: dict[str, Any]
    data: bytes | None
    caption: str | None = None
    captions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shard:
    """What goes into one file: shard `number` of a group's `of`. Its images are read as they are asked for."""

    group: str
    number: int
    of: int
    images: Iterator[Carried]


class Folder:
    """The folder of an export while it is written. It remembers its files, to take them back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []

    def atomic_write(self, name: str) -> AbstractContextManager[Path]:
        """Where to write a file: see `files.atomic_write`."""
        self._names.append(name)
        return atomic_write(self.path / name)

    def clear(self) -> None:
        """Remove what was written, and the folders that are empty then."""
        for name in self._names:
            (self.path / name).unlink(missing_ok=True)
        for name in (*self._names, ""):
            with suppress(OSError):
                ((self.path / name).parent if name else self.path).rmdir()


@contextmanager
def exporting(dataset: Dataset, output: Path) -> Iterator[Folder]:
    """Write shards in the block; then follow captions and generators.json, and last what says that all is there.

    If the block fails, nothing of it stays.

    Raises:
        DatasetError: `output` holds something already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} is there already; choose another --output")
    folder = Folder(output)
    try:
        yield folder
        if len(dataset.captions):
            with folder.atomic_write(CAPTIONS) as temporary:
                pq.write_table(dataset.captions, temporary)
        if (dataset.path / GENERATORS).exists():
            with folder.atomic_write(GENERATORS) as temporary:
                shutil.copyfile(dataset.path / GENERATORS, temporary)
        with folder.atomic_write(MANIFEST) as temporary:
            temporary.write_text(Manifest(format=1, images=len(dataset)).model_dump_json(), encoding="utf-8")
    except BaseException:
        folder.clear()
        raise


def shards(dataset: Dataset, groups: NDArray[Any], progress: Progress) -> Iterator[Shard]:
    """Deal the images into shards of at most about 500 MB, group by group, in the dataset's order.

    Args:
        dataset: whose files are all looked for first, and read one by one.
        groups: the name of each image's group (N,).
        progress: is told of every image.

    Raises:
        DatasetError: a file cannot be read although its row says so, or is another than the row says.
    """
    masks = {str(name): np.asarray(groups == name) for name in dict.fromkeys(groups)}
    counts = {name: _counts(dataset, mask) for name, mask in masks.items()}
    every = itertools.chain.from_iterable(_carried(dataset, mask) for mask in masks.values())
    images = tracked(every, "exporting", len(dataset), progress)
    for name, sizes in counts.items():
        for number, size in enumerate(sizes):
            yield Shard(name, number, len(sizes), itertools.islice(images, size))


def _counts(dataset: Dataset, mask: NDArray[np.bool_]) -> list[int]:
    """How many images of a group each of its shards takes."""
    counts, held = [0], 0
    for _, batch in _batches(dataset, mask):
        for fields in batch.select(["image_id", "path", "status"]).to_pylist():
            size = _ROW_BYTES
            if fields["status"] == "ok":
                try:
                    size += dataset.resolve_path(fields["path"]).stat().st_size
                except (OSError, ValueError) as error:
                    reason = error.strerror if isinstance(error, OSError) else error
                    raise _lost(fields, f"cannot be read: {reason}") from None
            if counts[-1] and held + size > SHARD_BYTES:
                counts.append(0)
                held = 0
            counts[-1] += 1
            held += size
    return counts


def _carried(dataset: Dataset, mask: NDArray[np.bool_]) -> Iterator[Carried]:
    for rows, batch in _batches(dataset, mask):
        captions = _captions(dataset, batch)
        for row, fields in zip(rows.tolist(), batch.to_pylist(), strict=True):
            data = _read(dataset, fields) if fields["status"] == "ok" else None
            texts = captions.get(fields["cluster_id"], {})
            own = texts.get(fields["caption_index"]) if fields["role"] == "child" else None
            yield Carried(row, {name: fields[name] for name in FIELDS}, data, own, list(texts.values()))


def _batches(dataset: Dataset, mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """The rows of images.parquet that the mask picks, some at a time, with their places."""
    start = 0
    for batch in dataset.images.to_batches(max_chunksize=_AT_ONCE):
        chosen = mask[start : start + len(batch)]
        yield start + np.flatnonzero(chosen), batch.filter(pa.array(chosen))
        start += len(batch)


def _captions(dataset: Dataset, batch: pa.RecordBatch) -> dict[str, dict[int, str]]:
    """The captions of the clusters of some images, by their index."""
    chosen = pc.is_in(dataset.captions["cluster_id"], value_set=batch["cluster_id"].unique())
    captions: dict[str, dict[int, str]] = {}
    for text in dataset.captions.filter(chosen).sort_by("caption_index").to_pylist():
        captions.setdefault(text["cluster_id"], {})[text["caption_index"]] = text["caption"]
    return captions


def _read(dataset: Dataset, fields: dict[str, Any]) -> bytes:
    try:
        file = read_file(dataset.resolve_path(fields["path"]))
    except ImageError as error:
        raise _lost(fields, str(error)) from None
    if fields["sha256"] not in (None, file.sha256):
        raise _lost(fields, "its SHA-256 is not the one in images.parquet")
    if not suffix(file.data):
        raise _lost(fields, "is no image of a format that is read")
    return file.data


def _lost(fields: dict[str, Any], what: str) -> DatasetError:
    said = f"image {fields['image_id']!r}, {fields['path']!r}: {what}"
    return DatasetError(f"{said}; bring the file back as it was, or import the dataset again")
