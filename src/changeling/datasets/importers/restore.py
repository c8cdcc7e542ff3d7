"""An export of a dataset, restored: the same rows, captions, generators and image files."""

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
from changeling.datasets.export_format import CAPTIONS, GENERATORS, MANIFEST, ExportedImage, Manifest
from changeling.datasets.image_files import remove_images_on_failure, store_image
from changeling.datasets.importers.import_dataset import check_no_dataset
from changeling.datasets.read_errors import convert_read_errors
from changeling.datasets.schema import CAPTIONS_SCHEMA, CaptionRow, ImageRow
from changeling.errors import DatasetError
from changeling.files import atomic_write
from changeling.progress import Progress, track


def restore_export(folder: Path, images: Iterable[ExportedImage], output: Path, progress: Progress) -> Dataset:
    """Write the dataset `output` from the export `folder`, whose images come in any order.

    Rows, captions, generators and the bytes of the images are as exported; the files have new names.

    Raises:
        DatasetError: `output` is a dataset already; an image is missing or is not the one in its row; a row is
            invalid.
    """
    check_no_dataset(output)
    total = _read_manifest(folder / MANIFEST).images
    captions = _read_captions(folder / CAPTIONS)
    with remove_images_on_failure(output):
        rows = _store_images(folder, track(images, "importing", total, progress), output)
        if len(rows) != total:
            raise DatasetError(
                f"{folder} has {len(rows):,} of {total:,} images: files are missing or added; get the complete "
                f"export, or remove {MANIFEST} to import what is there"
            )
        if (folder / GENERATORS).exists():
            with atomic_write(output / GENERATORS) as temporary:
                shutil.copyfile(folder / GENERATORS, temporary)
        return write_dataset(output, (rows[number] for number in sorted(rows)), captions)


def _store_images(folder: Path, images: Iterable[ExportedImage], output: Path) -> dict[int, ImageRow]:
    """Store the images, and return their rows by row number."""
    rows: dict[int, ImageRow] = {}
    row_type = TypeAdapter(ImageRow)
    for image in images:
        row = _validate_row(row_type, image, folder)
        if image.row in rows:
            raise DatasetError(f"{folder}: two images have row number {image.row}; export the dataset again")
        if image.data is not None:
            row = replace(row, path=store_image(output, image.row, image.data))
        rows[image.row] = row
    return rows


def _read_manifest(path: Path) -> Manifest:
    with convert_read_errors(path):
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from None


def _read_captions(path: Path) -> list[CaptionRow]:
    if not path.exists():
        return []
    with convert_read_errors(path):
        table = pq.read_table(path).select(CAPTIONS_SCHEMA.names).cast(CAPTIONS_SCHEMA)
        return [CaptionRow(**row) for row in table.to_pylist()]


def _validate_row(row_type: TypeAdapter[ImageRow], image: ExportedImage, folder: Path) -> ImageRow:
    """Return the row of an image, without a path. Raises DatasetError if it does not fit the image."""
    where = f"{folder}: image {image.row!r}"
    try:
        row = row_type.validate_python(image.columns | {"path": ""})
    except ValidationError as error:
        raise DatasetError(f"{where}: {_first_problem(error)}") from None
    numbers = (row.caption_index, row.width, row.height, row.seed)
    fit_int64 = all(number is None or -(1 << 63) <= number < 1 << 63 for number in numbers)
    if not isinstance(image.row, int) or image.row < 0 or not fit_int64:
        raise DatasetError(f"{where}: a number is missing, negative or too large; export the dataset again")
    has_data = image.data is not None
    if (row.status == "ok") != has_data:
        content = "a file" if has_data else "no file"
        raise DatasetError(f"{where}, {row.image_id!r}: its status is {row.status}, but it has {content}")
    if image.data is not None and row.sha256 not in (None, hashlib.sha256(image.data).hexdigest()):
        raise DatasetError(f"{where}, {row.image_id!r}: SHA-256 is not the one in its row; get the file again")
    return row


def _first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line."""
    problem: Any = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
