"""Where datasets come from: the import itself, folders and CSV lists. COCO and the Hub have files of their own."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.base import Sourced, image_files, image_row
from changeling.datasets.schema import SPLITS, CaptionRow, ImageRow, Role
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import inspect_image, read_file
from changeling.progress import Progress, silent

_AT_ONCE = 4096  # files that wait to be looked at
_ROLES: dict[str, Role] = {"real": "parent", "fake": "child"}


def import_dataset(
    images: Iterator[Sourced], output: Path, *, progress: Progress = silent, workers: int = 4
) -> Dataset:
    """Look at every file once, and write the dataset `output`; files are referred to, not copied.

    A file that cannot be read becomes a row with its status and error.

    Raises:
        DatasetError: nothing to import, or `output` is a dataset already.
    """
    if (output / "images.parquet").exists():
        raise DatasetError(f"{output} is a dataset already; choose another --output or remove it")
    sourced = list(images)
    captions: dict[str, list[str]] = {}
    for row, texts in sourced:
        if texts:
            captions.setdefault(row.cluster_id, texts)
    rows: list[ImageRow] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(sourced), _AT_ONCE):
            some = sourced[start : start + _AT_ONCE]
            told = [_spoken(row, own, captions.get(row.cluster_id, [])) for row, own in some]
            for row in pool.map(_inspect, told, itertools.repeat(output)):
                rows.append(row)
                progress("importing", len(rows), len(sourced))
    spoken = [
        CaptionRow(cluster, index, text.encode("utf-8", "replace").decode())
        for cluster, texts in captions.items()
        for index, text in enumerate(texts)
    ]
    return write_dataset(output, rows, spoken)


def from_folder(folder: Path) -> Iterator[Sourced]:
    """Yield the images below `real/` and `fake/`; the first folder below `fake/`, if any, names the generator.

    Each image is a cluster of its own: to say which belong together, pass a CSV file.

    Raises:
        DatasetError: no images there.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder or CSV file")
    found = False
    for name, role in _ROLES.items():
        top = folder / name
        for path in image_files(top) if top.is_dir() else ():
            inside = path.removeprefix(f"{top.absolute()}{os.sep}")
            first, below, _ = inside.partition(os.sep)
            found = True
            yield image_row(path, f"{name}/{inside}", role, first if below else "unknown", source=folder.name), []
    if not found:
        raise DatasetError(f"{folder} has no images below real/ or fake/; name them so, or pass a CSV file")


def from_csv(path: Path) -> Iterator[Sourced]:
    """Yield the rows of a CSV file with the columns `file` and `role` (parent or child).

    Also read, where they exist: `generator`, `group` (images of one group are one cluster), `captions` (of the
    cluster, a JSON list), `caption_index` (from which of them, counted from 0, a child was made), `split`, and
    `source` (else the file's folder). `file` is relative to the CSV file.

    Raises:
        DatasetError: a column or value is missing or wrong; the message gives the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"file", "role"} - set(reader.fieldnames or ())
            if missing:
                raise DatasetError(f"{path}: no column {', '.join(sorted(missing))}")
            for record in reader:
                yield _from_record(path, record, f"{path}:{reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV file: {error}") from None


def _from_record(path: Path, record: dict[str, str], where: str) -> Sourced:
    role = record["role"]
    if not record["file"]:
        raise DatasetError(f"{where}: no file is named")
    if role not in _ROLES.values():
        raise DatasetError(f"{where}: role is {role!r}, not parent or child")
    split = record.get("split") or None
    if split is not None and split not in SPLITS:
        raise DatasetError(f"{where}: split is {split!r}, not one of {', '.join(SPLITS)}")
    try:
        captions = json.loads(record.get("captions") or "[]")
    except (ValueError, RecursionError):
        captions = None
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise DatasetError(f"{where}: captions are not a JSON list of strings")
    file = path.parent / record["file"]
    row = image_row(
        str(file.absolute()),
        record["file"],
        cast(Role, role),
        record.get("generator") or "unknown",
        source=record.get("source") or file.parent.name,
        cluster=record.get("group") or None,
        split=split,
        caption_index=_index(record.get("caption_index") or "", where),
    )
    return row, captions


def _index(given: str, where: str) -> int | None:
    if given and not re.fullmatch("[0-9]{1,9}", given):
        raise DatasetError(f"{where}: caption_index is {given!r}, not the place of a caption, from 0")
    return int(given) if given else None


def _spoken(row: ImageRow, own: list[str], captions: list[str]) -> ImageRow:
    """A child with one caption of its own, or in a cluster with one, is of that one."""
    if row.caption_index is not None and captions and row.caption_index >= len(captions):
        raise DatasetError(
            f"image {row.image_id} is of caption {row.caption_index}, but {row.cluster_id} has {len(captions)} captions"
        )
    told = next((some for some in (own, captions) if len(some) == 1), [])
    if row.role == "child" and row.caption_index is None and told and told[0] in captions:
        return replace(row, caption_index=captions.index(told[0]))
    return row


def _inspect(row: ImageRow, folder: Path) -> ImageRow:
    try:
        file = read_file(folder / row.path)
        info = inspect_image(file)
    except ImageError as error:
        return replace(row, status=error.status, error=str(error))
    return replace(row, width=info.width, height=info.height, format=info.format, sha256=file.sha256)
