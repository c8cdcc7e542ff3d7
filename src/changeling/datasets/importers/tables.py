"""The files of Hugging Face datasets: Arrow as `datasets` saves it, parquet as it is downloaded, images with a list.

They are read as the Arrow, parquet, CSV and JSON files that they are, without the package `datasets`: nothing in the
folder is run, no image is decoded, nothing is fetched.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from changeling.datasets.schema import Split
from changeling.errors import DatasetError

Record = dict[str, Any]
Records = Callable[[list[str]], Iterator[tuple[int | str, Record]]]  # the columns that are wanted -> place and values

SPLIT_WORDS: Mapping[str, Split] = {
    **{"train": "train", "test": "test", "val": "val"},
    **{"validation": "val", "valid": "val", "dev": "val"},
}
_AT_ONCE = 64  # rows, with the bytes of their images


@dataclass(frozen=True, slots=True)
class Table:
    """One split of a dataset on disk, as the table that it is.

    Attributes:
        name: of the split; empty if it has none.
        where: the file or folder, and `unit` ("row", from 0, "line" or "sample"), to say in errors where something is.
        folder: absolute, from which the paths of images start.
        images: the columns that hold images: bytes, or a path.
        classes: the names of classes, of columns that hold their numbers.
        records: reads it.
    """

    name: str
    where: Path
    folder: Path
    columns: Sequence[str]
    images: Sequence[str]
    records: Records
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unit: str = "row"


def open_tables(folder: Path) -> list[Table]:
    """Find out what kind of dataset the folder is, and its tables.

    Raises:
        DatasetError: none that is known, or one that cannot be read.
    """
    folder = folder.absolute()
    if folder.is_file():
        raise DatasetError(f"{folder} is a file; pass its folder")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; a dataset of the Hub is downloaded first (hf download)")
    if (folder / "dataset_dict.json").exists():
        names = _json(folder / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{folder / 'dataset_dict.json'} names no splits")
        return [_saved(folder / Path(name).name, name) for name in names]
    if (folder / "state.json").exists():
        return [_saved(folder, "")]
    tables = _described(folder) or _parquet(folder)
    if not tables:
        raise DatasetError(
            f"{folder} is no Hugging Face dataset: no state.json or dataset_dict.json (as save_to_disk writes), no "
            f"{', '.join(_LISTS)}, and no parquet files in it or in data/"
        )
    return tables


def _saved(folder: Path, name: str) -> Table:
    """What `save_to_disk` wrote: Arrow streams, listed in state.json."""
    listed = _json(folder / "state.json").get("_data_files")
    try:
        files = [folder / Path(entry["filename"]).name for entry in listed or []]
    except (TypeError, KeyError):
        files = []
    if not files:
        raise DatasetError(f"{folder / 'state.json'} lists no data files")
    with reading(files[0]), pa.memory_map(str(files[0])) as source:
        schema = pa.ipc.open_stream(source).schema
    return _typed(folder, name, files, schema, _stream)


def _parquet(folder: Path) -> list[Table]:
    """What a download holds: parquet files in the folder or in data/, called train-00000-of-00002 or train alone."""
    tables: dict[str, list[Path]] = {}
    for path in sorted((*folder.glob("*.parquet"), *folder.glob("data/*.parquet"))):
        name, sharded = re.subn(r"-[0-9]+-of-[0-9]+(-[0-9a-f]{16})?$", "", path.stem)  # a hash, of older ones
        tables.setdefault(name if sharded or name.casefold() in SPLIT_WORDS else "", []).append(path)
    found = []
    for name, files in tables.items():
        with reading(files[0]):
            schema = pq.read_schema(files[0])
        found.append(_typed(folder, name, files, schema, _row_groups))
    return found


def _typed(
    folder: Path, name: str, files: list[Path], schema: pa.Schema, batches: Callable[[Path, list[str]], Iterator[Any]]
) -> Table:
    """A table whose schema says what its columns are, in the words of `datasets` if it has them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {column: features[column].get("_type") for column in schema.names}
        classes = {column: _names(features[column]["names"]) for column, kind in kinds.items() if kind == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        kinds, classes = {}, {}
    images = [
        column.name for column in schema if _holds_files(column.type) and kinds.get(column.name, "Image") == "Image"
    ]

    def records(columns: list[str]) -> Iterator[tuple[int, Record]]:
        row = itertools.count()
        for path in files:
            with reading(path):
                for _, record in _numbered(batches(path, columns)):
                    yield next(row), record

    return Table(name, folder, folder, schema.names, images, records, classes)


def _names(given: object) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise TypeError
    return given


def _holds_files(kind: pa.DataType) -> bool:
    """Whether a column is laid out as `datasets` lays out files (images, sounds): bytes and a path."""
    if not pa.types.is_struct(kind):
        return False
    inner = {inside.name: inside.type for inside in kind}
    return inner.get("bytes") in (pa.binary(), pa.large_binary()) and inner.get("path") in (
        pa.string(),
        pa.large_string(),
    )


def _stream(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        for batch in pa.ipc.open_stream(source):
            chosen = batch.select(columns)
            for start in range(0, batch.num_rows, _AT_ONCE):
                yield chosen.slice(start, _AT_ONCE)


def _row_groups(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):  # of several at once it would keep all in memory
            yield from file.iter_batches(_AT_ONCE, row_groups=[group], columns=columns)


def _described(folder: Path) -> list[Table]:
    """A folder of images with a metadata file, or one such folder for each split."""
    here = [_listed(folder / file, "") for file in _LISTS if (folder / file).exists()]
    if here:
        return here[:1]
    with reading(folder), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [_listed(path, name) for name in names for file in _LISTS if (path := folder / name / file).exists()]


def _listed(path: Path, name: str) -> Table:
    """The table that a metadata file describes; its column `file_name` is the image."""
    columns, records = _LISTS[path.name]
    with reading(path):
        found = columns(path)
    if "file_name" not in found:
        raise DatasetError(f"{path} has no column file_name")

    def read(_: list[str]) -> Iterator[tuple[int, Record]]:
        with reading(path):
            for number, record in records(path):
                if not isinstance(record.get("file_name"), str) or not record["file_name"]:
                    raise DatasetError(f"{path}, {unit} {number}: no file is named")
                yield number, record

    unit = "row" if path.suffix == ".parquet" else "line"
    return Table(name, path, path.parent, found, ["file_name"], read, unit=unit)


def _csv_columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file).fieldnames or ())


def _csv(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for record in reader:
            yield reader.line_num, record


def _json_columns(path: Path) -> list[str]:
    columns: dict[str, None] = {}  # of all lines, for any may lack some; in their order
    for _, record in _json_lines(path):
        columns |= dict.fromkeys(record)
    return list(columns)


def _json_lines(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"line {number} is not an object")
                yield number, record


def _table_columns(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _table(path: Path) -> Iterator[tuple[int, Record]]:
    return _numbered(_row_groups(path, _table_columns(path)))


# how a list of images may be called, and how its columns and its records are read
_LISTS: Mapping[str, tuple[Callable[[Path], list[str]], Callable[[Path], Iterator[tuple[int, Record]]]]] = {
    "metadata.csv": (_csv_columns, _csv),
    "metadata.jsonl": (_json_columns, _json_lines),
    "metadata.parquet": (_table_columns, _table),
}


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, Record]]:
    place = 0
    for batch in batches:
        batch.validate(full=True)
        for record in batch.to_pylist():
            yield place, record
            place += 1


def _json(path: Path) -> Record:
    with reading(path):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is not a JSON object")
    return content


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong in the block that `path` cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, LookupError, ArithmeticError, RecursionError, csv.Error) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetError(f"{path} cannot be read: {reason}") from None
