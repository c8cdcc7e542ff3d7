"""Tables in Arrow files, as `datasets` saves them, and in parquet files, as they are downloaded from the Hub."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from changeling.datasets.importers.tables import SPLIT_NAMES, Record, Table
from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import DatasetError

ReadBatches = Callable[[Path, Sequence[str]], Iterator[pa.RecordBatch]]

_BATCH = 64  # rows, with the bytes of their images


def open_saved_dataset(folder: Path) -> list[Table]:
    """Open what `save_to_disk` wrote: one table for each split, or a single one. [] if the folder is not that.

    Raises:
        DatasetError: a file cannot be read.
    """
    index = folder / "dataset_dict.json"
    if index.exists():
        names = _read_json(index).get("splits")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{index} has no list of splits")
        return [_open_saved_table(folder / Path(name).name, name) for name in names]
    return [_open_saved_table(folder, "")] if (folder / "state.json").exists() else []


def open_parquet_files(folder: Path) -> list[Table]:
    """Open the parquet files in the folder or in data/: a table for each split, such as train-00000-of-00002.

    [] if there are none. Raises DatasetError if a file cannot be read.
    """
    files_by_split: dict[str, list[Path]] = {}
    for path in sorted((*folder.glob("*.parquet"), *folder.glob("data/*.parquet"))):
        # shards of older datasets have a hash at the end of their names
        name, is_shard = re.subn(r"-[0-9]+-of-[0-9]+(-[0-9a-f]{16})?$", "", path.stem)
        split = name if is_shard or name.casefold() in SPLIT_NAMES else ""
        files_by_split.setdefault(split, []).append(path)
    tables = []
    for split, files in files_by_split.items():
        with convert_read_errors(files[0]):
            schema = pq.read_schema(files[0])
        tables.append(_make_table(folder, split, schema, files, read_parquet_batches))
    return tables


def read_parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield a parquet file in small batches; one row group is in memory at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(_BATCH, row_groups=[group], columns=list(columns))


def number_records(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, Record]]:
    """Yield the records of checked batches, with their numbers from 0."""
    number = 0
    for batch in batches:
        batch.validate(full=True)
        for record in batch.to_pylist():
            yield number, record
            number += 1


def _open_saved_table(folder: Path, name: str) -> Table:
    """Open a folder of Arrow streams that state.json lists."""
    state = folder / "state.json"
    entries = _read_json(state).get("_data_files")
    try:
        files = [folder / Path(entry["filename"]).name for entry in entries or []]
    except (TypeError, KeyError):
        files = []
    if not files:
        raise DatasetError(f"{state} has no list of data files")
    with convert_read_errors(files[0]), pa.memory_map(str(files[0])) as source:
        schema = pa.ipc.open_stream(source).schema
    return _make_table(folder, name, schema, files, _read_stream_batches)


def _read_stream_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        for batch in pa.ipc.open_stream(source):
            selected = batch.select(columns)
            for start in range(0, batch.num_rows, _BATCH):
                yield selected.slice(start, _BATCH)


def _make_table(folder: Path, name: str, schema: pa.Schema, files: list[Path], read_batches: ReadBatches) -> Table:
    """Make the table of several files. Image columns follow from the schema and from the metadata of `datasets`."""
    feature_types, class_names = _read_features(schema)
    image_columns = [
        column.name
        for column in schema
        if _holds_files(column.type) and feature_types.get(column.name, "Image") == "Image"
    ]

    def read_records(columns: Sequence[str]) -> Iterator[tuple[int, Record]]:
        numbers = itertools.count()
        for path in files:
            with convert_read_errors(path):
                for _, record in number_records(read_batches(path, columns)):
                    yield next(numbers), record

    return Table(name, folder, folder, schema.names, image_columns, read_records, class_names)


def _read_features(schema: pa.Schema) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the feature type of each column and the names of classes, by `datasets`; empty without valid metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        types = {column: features[column].get("_type") for column in schema.names}
        class_columns = [column for column, feature_type in types.items() if feature_type == "ClassLabel"]
        return types, {column: _check_names(features[column]["names"]) for column in class_columns}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, {}


def _check_names(names: object) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return names


def _holds_files(column_type: pa.DataType) -> bool:
    """Whether a column has the type of files in `datasets` (images, sounds): a struct of bytes and a path."""
    if not pa.types.is_struct(column_type):
        return False
    fields = {field.name: field.type for field in column_type}
    has_bytes = fields.get("bytes") in (pa.binary(), pa.large_binary())
    return has_bytes and fields.get("path") in (pa.string(), pa.large_string())


def _read_json(path: Path) -> Record:
    with convert_read_errors(path):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is not a JSON object")
    return content
