"""A table of images that others wrote, and finding out which kind of dataset a folder holds.

Hugging Face datasets are read as the Arrow, parquet, CSV and JSON files that they are, without the package `datasets`:
nothing in the folder is run, no image is decoded, nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from changeling.datasets.schema import Split

Record = dict[str, Any]  # column -> value
ReadRecords = Callable[[Sequence[str]], Iterator[tuple[int | str, Record]]]

SPLIT_NAMES: Mapping[str, Split] = {  # as others call the splits
    "train": "train",
    "test": "test",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "dev": "val",
}


@dataclass(frozen=True, slots=True)
class Table:
    """One split of a dataset on disk.

    Attributes:
        name: of the split; empty if it has none.
        location: the file or folder, for error messages.
        folder: absolute; paths of images are relative to it.
        columns: the names of all columns.
        image_columns: the columns that hold images: bytes, or a path.
        read_records: columns -> the number and the values of each record.
        class_names: the names of the classes, for columns that hold numbers of classes.
        unit: what a record is called in error messages: "row", "line" or "sample".
    """

    name: str
    location: Path
    folder: Path
    columns: Sequence[str]
    image_columns: Sequence[str]
    read_records: ReadRecords
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unit: str = "row"
