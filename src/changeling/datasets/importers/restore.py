"""Make of an export the dataset that it was."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.exporters.base import CAPTIONS, GENERATORS, MANIFEST, Carried, Manifest
from changeling.datasets.image_files import store_image, storing
from changeling.datasets.importers.tables import reading
from changeling.datasets.schema import CAPTIONS_SCHEMA, CaptionRow, ImageRow
from changeling.errors import DatasetError
from changeling.files import atomic_write
from changeling.progress import Progress, tracked


def is_export(folder: Path) -> bool:
    """Whether the folder was written by `changeling export`, and not changed by other programs since."""
    return (folder / MANIFEST).is_file()


def restore(folder: Path, images: Iterable[Carried], output: Path, progress: Progress) -> Dataset:
    """Write the dataset `output` from the export `folder`, whose images come in any order.

    Rows, captions, generators and the bytes of images are what they were; the files have new names.

    Raises:
        DatasetError: `output` is a dataset already; an image is missing, or another than its row says; a row makes
            no sense.
    """
    if (output / "images.parquet").exists():
        raise DatasetError(f"{output} is a dataset already; choose another --output or remove it")
    total = _manifest(folder / MANIFEST).images
    captions = _captions(folder / CAPTIONS)
    with storing(output):
        rows = _rows(folder, images, output, total, progress)
        if (folder / GENERATORS).exists():
            with atomic_write(output / GENERATORS) as temporary:
                shutil.copyfile(folder / GENERATORS, temporary)
        return write_dataset(output, (rows[place] for place in sorted(rows)), captions)


def _rows(folder: Path, images: Iterable[Carried], output: Path, total: int, progress: Progress) -> dict[int, ImageRow]:
    """Store the images; return their rows, by place."""
    rows: dict[int, ImageRow] = {}
    check = TypeAdapter(ImageRow)
    for image in tracked(images, "importing", total, progress):
        row = _row(check, image, folder)
        if image.row in rows:
            raise DatasetError(f"{folder}: there are two images {image.row}; export the dataset again")
        if image.data is not None:
            row = replace(row, path=store_image(output, image.row, image.data))
        rows[image.row] = row
    if len(rows) != total:
        raise DatasetError(
            f"{folder} has {len(rows):,} of {total:,} images: files are missing, or are too many; get all of them, or "
            f"remove {MANIFEST} to import what is there"
        )
    return rows


def _manifest(path: Path) -> Manifest:
    with reading(path):
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(_first(error)) from None


def _captions(path: Path) -> list[CaptionRow]:
    if not path.exists():
        return []
    with reading(path):
        table = pq.read_table(path).select(CAPTIONS_SCHEMA.names).cast(CAPTIONS_SCHEMA)
        return [CaptionRow(**row) for row in table.to_pylist()]


def _row(check: TypeAdapter[ImageRow], image: Carried, folder: Path) -> ImageRow:
    """The image's row, still without a path, if all is as it should be."""
    where = f"{folder}: image {image.row!r}"
    try:
        row = check.validate_python(image.fields | {"path": ""})
    except ValidationError as error:
        raise DatasetError(f"{where}: {_first(error)}") from None
    numbers = (row.caption_index, row.width, row.height, row.seed)
    fit = all(number is None or -(1 << 63) <= number < 1 << 63 for number in numbers)
    if not isinstance(image.row, int) or image.row < 0 or not fit:
        raise DatasetError(f"{where}: it has a number that is none, or too large; export the dataset again")
    if (row.status == "ok") != (image.data is not None):
        raise DatasetError(f"{where}, {row.image_id!r}: its status is {row.status}, yet it has {_file(image.data)}")
    if image.data is not None and row.sha256 not in (None, hashlib.sha256(image.data).hexdigest()):
        raise DatasetError(f"{where}, {row.image_id!r}: its SHA-256 is not the one in its row; get the file again")
    return row


def _file(data: bytes | None) -> str:
    return "no file" if data is None else "a file"


def _first(error: ValidationError) -> str:
    """What is wrong first, in one line."""
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
