"""Images that a CSV file lists."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from changeling.datasets.importers.base import ChildOrigin, ImportedImage, make_image_row
from changeling.datasets.importers.record_values import ROLE_NAMES
from changeling.datasets.schema import SPLITS, Role
from changeling.errors import DatasetError

_ALIASES = {"file": "path", "role": "label"}  # required columns, and what benchmarks call them


def read_csv(path: Path) -> Iterator[ImportedImage]:
    """Yield the rows of a CSV file with the columns `file` and `role` (parent or child).

    The columns may also be called `path` and `label` (real or 0, fake or 1), as benchmarks do.

    Optional columns: `generator`, `group` (images of one group are one cluster), `captions` (of the cluster, a JSON
    list), `caption_index` (from which of them, counted from 0, a child was generated), `split`, and `source` (by
    default the file's folder). `file` is relative to the CSV file.

    Raises:
        DatasetError: a column or value is missing or invalid; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            missing = [name for name, alias in _ALIASES.items() if not {name, alias} & columns]
            if missing:
                raise DatasetError(f"{path}: no column {', '.join(missing)}")
            for record in reader:
                yield _convert_record(record, path.parent, f"{path}:{reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV file: {error}") from None


def _convert_record(record: dict[str, str], folder: Path, where: str) -> ImportedImage:
    name = record.get("file") or record.get("path")
    if not name:
        raise DatasetError(f"{where}: file is empty")
    role = _parse_role(record, where)
    split = record.get("split") or None
    if split is not None and split not in SPLITS:
        raise DatasetError(f"{where}: split is {split!r}, not one of {', '.join(SPLITS)}")
    captions = _parse_captions(record.get("captions") or "[]", where)
    caption_index = _parse_caption_index(record.get("caption_index") or "", where)
    path = folder / name
    row = make_image_row(
        str(path.absolute()),
        name,
        record.get("source") or path.parent.name,
        cluster_id=record.get("group"),
        split=split,
        child=ChildOrigin(record.get("generator") or "unknown", caption_index) if role == "child" else None,
    )
    return ImportedImage(row, captions)


def _parse_role(record: dict[str, str], where: str) -> Role:
    if "role" not in record:
        label = (record["label"] or "").strip().lower()
        if label not in ROLE_NAMES:
            raise DatasetError(f"{where}: label is {record['label']!r}, not real, fake, 0 or 1")
        return ROLE_NAMES[label]
    if record["role"] not in ("parent", "child"):
        raise DatasetError(f"{where}: role is {record['role']!r}, not parent or child")
    return ROLE_NAMES[record["role"]]


def _parse_captions(text: str, where: str) -> list[str]:
    try:
        captions = json.loads(text)
    except (ValueError, RecursionError):
        captions = None
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DatasetError(f"{where}: captions are not a JSON list of strings")
    return captions


def _parse_caption_index(text: str, where: str) -> int | None:
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise DatasetError(f"{where}: caption_index is {text!r}, not a number from 0")
    return int(text) if text else None
