"""Folders of images with a metadata file that describes them: metadata.csv, metadata.jsonl or metadata.parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from changeling.datasets.importers.arrow_tables import number_records, read_parquet_batches
from changeling.datasets.importers.tables import Record, Table
from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import DatasetError


@dataclass(frozen=True, slots=True)
class MetadataFormat:
    """How to read a metadata file: its columns, and its records with their numbers."""

    read_columns: Callable[[Path], list[str]]
    read_records: Callable[[Path], Iterator[tuple[int, Record]]]
    unit: str


def open_metadata_files(folder: Path) -> list[Table]:
    """Open the metadata file of the folder, or those of its folders, one for each split; [] if there are none.

    Raises:
        DatasetError: a file cannot be read or has no column file_name.
    """
    for name in METADATA_FORMATS:
        if (folder / name).exists():
            return [_open_metadata_file(folder / name, "")]
    with convert_read_errors(folder), os.scandir(folder) as entries:
        splits = sorted(entry.name for entry in entries if entry.is_dir())
    paths = [(folder / split / name, split) for split in splits for name in METADATA_FORMATS]
    return [_open_metadata_file(path, split) for path, split in paths if path.exists()]


def _open_metadata_file(path: Path, split: str) -> Table:
    """Open a metadata file; its column `file_name` is the image."""
    metadata_format = METADATA_FORMATS[path.name]
    with convert_read_errors(path):
        columns = metadata_format.read_columns(path)
    if "file_name" not in columns:
        raise DatasetError(f"{path} has no column file_name")

    def read_records(_: Sequence[str]) -> Iterator[tuple[int, Record]]:
        with convert_read_errors(path):
            for number, record in metadata_format.read_records(path):
                if not isinstance(record.get("file_name"), str) or not record["file_name"]:
                    raise DatasetError(f"{path}, {metadata_format.unit} {number}: file_name is empty or not a text")
                yield number, record

    return Table(split, path, path.parent, columns, ["file_name"], read_records, unit=metadata_format.unit)


def _read_csv_columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file).fieldnames or ())


def _read_csv_records(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for record in reader:
            yield reader.line_num, record


def _read_json_columns(path: Path) -> list[str]:
    """The columns of all lines, in order of appearance, because a line may lack some."""
    columns: dict[str, None] = {}
    for _, record in _read_json_records(path):
        columns |= dict.fromkeys(record)
    return list(columns)


def _read_json_records(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"line {number} is not an object")
                yield number, record


def _read_parquet_columns(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _read_parquet_records(path: Path) -> Iterator[tuple[int, Record]]:
    return number_records(read_parquet_batches(path, _read_parquet_columns(path)))


METADATA_FORMATS: Mapping[str, MetadataFormat] = {
    "metadata.csv": MetadataFormat(_read_csv_columns, _read_csv_records, "line"),
    "metadata.jsonl": MetadataFormat(_read_json_columns, _read_json_records, "line"),
    "metadata.parquet": MetadataFormat(_read_parquet_columns, _read_parquet_records, "row"),
}
