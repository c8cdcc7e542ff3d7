"""From the records of tables that others wrote to images to import."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from changeling.datasets.image_files import store_image
from changeling.datasets.importers.base import ImportedImage, collect_captions, make_image_row
from changeling.datasets.importers.import_dataset import describe_file
from changeling.datasets.importers.record_values import (
    parse_captions,
    parse_child_origin,
    parse_role,
    parse_split,
    parse_text,
)
from changeling.datasets.importers.tables import SPLIT_NAMES, Record, Table
from changeling.datasets.messages import format_count
from changeling.datasets.schema import ImageRow, Split
from changeling.errors import DatasetError
from changeling.images.decode import ImageFile

COLUMNS = (  # that are read, beside the image
    "role",
    "label",
    "cluster_id",
    "group",
    "caption",
    "captions",
    "caption_index",
    "generator",
    "seed",
    "split",
    "source",
    "image_id",
)


@dataclass(slots=True)
class _Captions:
    """The captions of each cluster, collected from the records of all its images."""

    by_cluster: dict[str, list[str]]
    _index: dict[tuple[str, str], int] = field(init=False)  # (cluster, caption) -> its first index

    def __post_init__(self) -> None:
        self._index = {
            (cluster_id, captions[index]): index
            for cluster_id, captions in self.by_cluster.items()
            for index in reversed(range(len(captions)))
        }

    def add(self, cluster_id: str, caption: str) -> None:
        """Append the caption of an image to those of its cluster, unless it is one of them."""
        if caption and (cluster_id, caption) not in self._index:
            captions = self.by_cluster.setdefault(cluster_id, [])
            self._index[cluster_id, caption] = len(captions)
            captions.append(caption)

    def find(self, cluster_id: str, caption: str, index: int | None) -> int | None:
        """Return the index of an image's caption; `index` is the one in its record, which is kept if it fits."""
        captions = self.by_cluster.get(cluster_id, [])
        if caption and (index is None or captions[index : index + 1] != [caption]):
            return self._index[cluster_id, caption]
        return 0 if index is None and len(captions) == 1 else index


def read_images(tables: Sequence[Table], folder: Path, output: Path) -> Iterator[ImportedImage]:
    """Yield the images of the tables of a dataset in `folder`; see `read_huggingface` for the columns.

    Images inside tables are written to `output`; images that are files stay where they are.

    Raises:
        DatasetError: a column is missing, a value is invalid, or images of a cluster bring different captions.
    """
    image_columns = [_find_image_column(table) for table in tables]
    splits = [_find_split(table) if len(tables) > 1 else None for table in tables]
    numbers = itertools.count()  # of the images that are written
    images: list[tuple[ImageRow, str, list[str]]] = []  # with the image's own caption, and those of its cluster
    for table, image_column, split in zip(tables, image_columns, splits, strict=True):
        reader = _TableReader(table, image_column, split, folder.absolute().name, output)
        images += reader.read(numbers)
    captions = _Captions(collect_captions((row, cluster_captions) for row, _, cluster_captions in images))
    for row, own_caption, _ in images:
        captions.add(row.cluster_id, own_caption)
    for row, own_caption, _ in images:
        yield _with_captions(row, own_caption, captions, folder)


def _with_captions(row: ImageRow, own_caption: str, captions: _Captions, folder: Path) -> ImportedImage:
    cluster_captions = captions.by_cluster.get(row.cluster_id, [])
    index = captions.find(row.cluster_id, own_caption, row.caption_index)
    if index is not None and cluster_captions and index >= len(cluster_captions):
        raise DatasetError(
            f"{folder}: image {row.image_id} has caption_index {index}, but cluster {row.cluster_id} has "
            f"{format_count(len(cluster_captions), 'caption')}, counted from 0"
        )
    row = replace(row, caption_index=index) if row.role == "child" else row
    return ImportedImage(row, cluster_captions)


@dataclass(frozen=True, slots=True)
class _TableReader:
    """Reads the images of one table.

    Attributes:
        split: of all its images, if their records do not say another.
        source: of all its images, if their records do not say another.
        output: the dataset that images inside the table are written to.
    """

    table: Table
    image_column: str
    split: Split | None
    source: str
    output: Path

    def read(self, numbers: Iterator[int]) -> Iterator[tuple[ImageRow, str, list[str]]]:
        """Yield the row of each image, its own caption, and the captions of its cluster. Raises DatasetError."""
        columns = [column for column in self.table.columns if column in COLUMNS or column == self.image_column]
        for place, (number, values) in enumerate(self.table.read_records(columns)):
            record = {column: self._class_name(column, values.get(column)) for column in columns}
            try:
                cluster_captions, own_caption = parse_captions(record)
                row = self._make_row(record, place)
            except ValueError as error:
                raise DatasetError(f"{self.table.location}, {self.table.unit} {number}: {error}") from None
            data, name = _image_data(record[self.image_column])
            if data is not None:
                path = store_image(self.output, next(numbers), data, name)
                row = describe_file(replace(row, path=path), ImageFile(path, data))
            yield row, own_caption, cluster_captions

    def _make_row(self, record: Record, place: int) -> ImageRow:
        """Make the row of an image, `place` from 0 in its table. Raises ValueError."""
        image = record[self.image_column]
        path = image if isinstance(image, str) else (image or {}).get("path") or ""
        default_id = image if isinstance(image, str) else str(place)
        if self.table.name:
            default_id = f"{self.table.name}/{default_id}"
        child = parse_child_origin(record) if parse_role(record) == "child" else None
        return make_image_row(
            str(self.table.folder / path),
            parse_text(record, "image_id") or default_id,
            parse_text(record, "source") or self.source,
            cluster_id=parse_text(record, "cluster_id") or parse_text(record, "group"),
            split=parse_split(record) or self.split,
            child=child,
        )

    def _class_name(self, column: str, value: Any) -> Any:
        """Return the value, or the name of the class whose number it is."""
        names = self.table.class_names.get(column)
        if names is None or not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None


def _image_data(image: Any) -> tuple[bytes | None, str]:
    """Return the bytes and the file name of an image inside a table; None if it is a file.

    An image with neither bytes nor a path has no bytes: its row gets the status of an empty file.
    """
    if isinstance(image, str):
        return None, ""
    data, name = (image["bytes"], image["path"]) if image else (None, None)
    if data is None and name:
        return None, ""
    return data or b"", name or ""


def _find_image_column(table: Table) -> str:
    """Return the column to read images from. Raises DatasetError if a necessary column is missing."""
    columns = f"it has {', '.join(table.columns)}"
    if not {"role", "label"} & set(table.columns):
        advice = "rename the column that tells real from fake to `role` (parent or child)"
        raise DatasetError(f"{table.location} has no column role or label; {advice}; {columns}")
    if not table.image_columns:
        raise DatasetError(f"{table.location} has no column of images; {columns}")
    if "image" in table.image_columns:
        return "image"
    if len(table.image_columns) > 1:
        advice = "rename the one to read to `image`"
        raise DatasetError(f"{table.location} has several columns of images; {advice}; {columns}")
    return table.image_columns[0]


def _find_split(table: Table) -> Split | None:
    """Return the split that the name of one of several tables means. Raises DatasetError."""
    split = SPLIT_NAMES.get(table.name.casefold())
    if not split and "split" not in table.columns:
        name = table.name or "without a name"
        raise DatasetError(
            f"{table.location}: the split {name} is not one of {', '.join(SPLIT_NAMES)}; rename it, or add a column "
            "`split`"
        )
    return split
