"""The images of a dataset, divided into shards of about 500 MB for the files of an export."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import EXPORTED_COLUMNS, ExportedImage
from changeling.datasets.image_files import detect_suffix
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import read_file
from changeling.progress import Progress, track

SHARD_BYTES = 500_000_000
_ROW_BYTES = 2048  # estimate for the columns of an image
_BATCH = 4096  # rows, without their images


@dataclass(frozen=True, slots=True)
class Shard:
    """The images of one file: shard `number` of `count` of a group. Files are read while `images` is iterated."""

    group: str
    number: int
    count: int
    images: Iterator[ExportedImage]


def split_into_shards(dataset: Dataset, groups: NDArray[Any], progress: Progress) -> Iterator[Shard]:
    """Yield shards of at most about 500 MB, group by group, with the images in the order of the dataset.

    Args:
        dataset: all its files must exist before the first shard is yielded; each file is read once.
        groups: the name of each image's group (N,).
        progress: called for every image.

    Raises:
        DatasetError: a file cannot be read although the status of its row is ok, or is not the one in its row.
    """
    masks = {str(name): np.asarray(groups == name) for name in dict.fromkeys(groups)}
    sizes = {name: _plan_shards(dataset, mask) for name, mask in masks.items()}
    all_images = itertools.chain.from_iterable(_read_images(dataset, mask) for mask in masks.values())
    images = track(all_images, "exporting", len(dataset), progress)
    for name, counts in sizes.items():
        for number, count in enumerate(counts):
            yield Shard(name, number, len(counts), itertools.islice(images, count))


def _plan_shards(dataset: Dataset, mask: NDArray[np.bool_]) -> list[int]:
    """Return the number of images in each shard of a group, by the sizes of their files."""
    counts, shard_bytes = [0], 0
    for _, batch in _select_batches(dataset, mask):
        for row in batch.select(["image_id", "path", "status"]).to_pylist():
            size = _ROW_BYTES + (_file_size(dataset, row) if row["status"] == "ok" else 0)
            if counts[-1] and shard_bytes + size > SHARD_BYTES:
                counts.append(0)
                shard_bytes = 0
            counts[-1] += 1
            shard_bytes += size
    return counts


def _file_size(dataset: Dataset, row: dict[str, Any]) -> int:
    try:
        return dataset.resolve_path(row["path"]).stat().st_size
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
        reason = error.strerror if isinstance(error, OSError) else error
        raise _file_error(row, f"cannot be read: {reason}") from None


def _read_images(dataset: Dataset, mask: NDArray[np.bool_]) -> Iterator[ExportedImage]:
    for rows, batch in _select_batches(dataset, mask):
        captions = _captions_by_cluster(dataset, batch)
        for number, row in zip(rows.tolist(), batch.to_pylist(), strict=True):
            data = _read_data(dataset, row) if row["status"] == "ok" else None
            cluster_captions = captions.get(row["cluster_id"], {})
            caption = cluster_captions.get(row["caption_index"]) if row["role"] == "child" else None
            columns = {name: row[name] for name in EXPORTED_COLUMNS}
            yield ExportedImage(number, columns, data, caption, list(cluster_captions.values()))


def _select_batches(dataset: Dataset, mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """Yield the rows of images.parquet that the mask selects, in batches, with their row numbers."""
    start = 0
    for batch in dataset.images.to_batches(max_chunksize=_BATCH):
        selected = mask[start : start + len(batch)]
        yield start + np.flatnonzero(selected), batch.filter(pa.array(selected))
        start += len(batch)


def _captions_by_cluster(dataset: Dataset, batch: pa.RecordBatch) -> dict[str, dict[int, str]]:
    """Return the captions of the clusters of some images: cluster_id -> caption_index -> caption."""
    is_of_batch = pc.is_in(dataset.captions["cluster_id"], value_set=batch["cluster_id"].unique())
    captions: dict[str, dict[int, str]] = {}
    for row in dataset.captions.filter(is_of_batch).sort_by("caption_index").to_pylist():
        captions.setdefault(row["cluster_id"], {})[row["caption_index"]] = row["caption"]
    return captions


def _read_data(dataset: Dataset, row: dict[str, Any]) -> bytes:
    try:
        file = read_file(dataset.resolve_path(row["path"]))
    except ImageError as error:
        raise _file_error(row, str(error)) from None
    if row["sha256"] not in (None, file.sha256):
        raise _file_error(row, "its SHA-256 is not the one in images.parquet")
    if not detect_suffix(file.data):
        raise _file_error(row, "is not an image of a supported format")
    return file.data


def _file_error(row: dict[str, Any], problem: str) -> DatasetError:
    image = f"image {row['image_id']!r}, {row['path']!r}"
    return DatasetError(
        f"{image}: {problem}; restore the original file (if it was built, by `changeling build redraw`), "
        "or import the dataset again"
    )
