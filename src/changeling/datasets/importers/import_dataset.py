"""The import itself: from images and captions to the tables of a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.base import ImportedImage, collect_captions
from changeling.datasets.messages import format_count
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import ImageFile, check_size, inspect_image, read_file
from changeling.progress import Progress, silent

_BATCH = 4096  # images that wait to be inspected
_WORKERS = 4


def import_dataset(images: Iterable[ImportedImage], output: Path, *, progress: Progress = silent) -> Dataset:
    """Read every file once, and write the dataset `output`, which refers to the files and does not copy them.

    A file that cannot be read becomes a row with its status and error.

    Raises:
        DatasetError: there are no images, a row is invalid, images of a cluster bring different captions, or `output`
            is a dataset already.
    """
    check_no_dataset(output)
    imported = list(images)
    captions = collect_captions((image.row, image.captions) for image in imported)
    rows = inspect_images(imported, captions, output, progress)
    caption_rows = [
        CaptionRow(cluster_id, index, caption.encode("utf-8", "replace").decode())
        for cluster_id, cluster_captions in captions.items()
        for index, caption in enumerate(cluster_captions)
    ]
    return write_dataset(output, rows, caption_rows)


def check_no_dataset(output: Path) -> None:
    """Raise DatasetError if `output` is a dataset already."""
    if (output / "images.parquet").exists():
        raise DatasetError(f"{output} is a dataset already; choose another output folder or remove it")


def describe_file(row: ImageRow, file: ImageFile) -> ImageRow:
    """Return the row with the size, format and hash of its file, or with the status and error if it is not an image."""
    try:
        check_size(file.data)
        info = inspect_image(file)
    except ImageError as error:
        return replace(row, status=error.status, error=str(error))
    return replace(row, width=info.width, height=info.height, format=info.format, sha256=file.sha256)


def inspect_images(
    images: list[ImportedImage], captions: dict[str, list[str]], output: Path, progress: Progress
) -> list[ImageRow]:
    """Return the complete row of each image, in order; `captions` are those of each cluster.

    A file that cannot be read becomes a row with its status and error.

    Raises:
        DatasetError: a child has a caption index that its cluster lacks.
    """
    rows: list[ImageRow] = []
    for row in _inspect_images(images, captions, output):
        rows.append(row)
        progress("importing", len(rows), len(images))
    return rows


def _inspect_images(images: list[ImportedImage], captions: dict[str, list[str]], output: Path) -> Iterator[ImageRow]:
    """Yield the complete row of each image, in order."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(images), _BATCH):
            batch = [
                image._replace(row=_with_caption_index(image, captions.get(image.row.cluster_id, [])))
                for image in images[start : start + _BATCH]
            ]
            yield from pool.map(_inspect_image, batch, itertools.repeat(output))


def _with_caption_index(image: ImportedImage, captions: list[str]) -> ImageRow:
    """Fill in the caption index of a child that has one caption, or whose cluster has one. Raises DatasetError."""
    row = image.row
    if row.caption_index is not None and captions and row.caption_index >= len(captions):
        raise DatasetError(
            f"image {row.image_id} has caption_index {row.caption_index}, but cluster {row.cluster_id} has "
            f"{format_count(len(captions), 'caption')}, counted from 0"
        )
    only_caption = next((texts[0] for texts in (image.captions, captions) if len(texts) == 1), None)
    if row.role == "child" and row.caption_index is None and only_caption in captions:
        return replace(row, caption_index=captions.index(only_caption))
    return row


def _inspect_image(image: ImportedImage, output: Path) -> ImageRow:
    if image.is_inspected:
        return image.row
    try:
        file = read_file(output / image.row.path)
    except ImageError as error:
        return replace(image.row, status=error.status, error=str(error))
    return describe_file(image.row, file)
