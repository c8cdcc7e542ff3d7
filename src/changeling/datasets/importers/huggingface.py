"""Hugging Face datasets on disk, as clusters."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.base import FIELDS, Carried
from changeling.datasets.image_files import store_image, storing
from changeling.datasets.importers.base import Sourced, image_row
from changeling.datasets.importers.folder import import_dataset
from changeling.datasets.importers.restore import is_export, restore
from changeling.datasets.importers.tables import SPLIT_WORDS, Table, open_tables
from changeling.datasets.schema import ImageRow, Role, Split
from changeling.errors import DatasetError
from changeling.progress import Progress, silent

Meaning = TypeVar("Meaning", bound=str)

COLUMNS = (
    *("role", "label", "cluster_id", "group", "caption", "captions", "caption_index"),
    *("generator", "seed", "split", "source", "image_id"),
)
_ROLES: Mapping[str, Role] = {
    **{"parent": "parent", "real": "parent", "0": "parent"},
    **{"child": "child", "fake": "child", "1": "child"},
}


def import_huggingface(folder: Path, output: Path, *, progress: Progress = silent) -> Dataset:
    """Make the dataset `output` of a Hugging Face dataset that lies in `folder`.

    What `to_huggingface` wrote becomes what it was; what others wrote is read by `from_huggingface`.

    Raises:
        DatasetError: as `restore` or `from_huggingface` say.
    """
    if is_export(folder):
        return restore(folder, _carried(folder), output, progress)
    with storing(output):
        return import_dataset(from_huggingface(folder, output), output, progress=progress)


def _carried(folder: Path) -> Iterator[Carried]:
    """What `to_huggingface` wrote, but for the captions, which lie in a file of their own."""
    for table in open_tables(folder):
        split, wanted = SPLIT_WORDS.get(table.name), [name for name in (*FIELDS, "row") if name != "split"]
        lacking = set(wanted) - set(table.columns) or {"image"} - set(table.images)
        if not split or lacking:
            what = f"lacks {', '.join(sorted(lacking))}" if split else "is not called after a split"
            raise DatasetError(f"{folder}: {table.name or 'a file'} {what}; export the dataset again")
        for _, record in table.records([*wanted, "image"]):
            image, fields = record["image"], {name: record.get(name, split) for name in FIELDS}
            yield Carried(record["row"], fields, image["bytes"] if image else None)


def from_huggingface(folder: Path, output: Path) -> Iterator[Sourced]:
    """Yield the images of a Hugging Face dataset that lies in `folder`.

    Read are what `save_to_disk` wrote, downloaded parquet files, and a folder of images with a `metadata.csv`,
    `.jsonl` or `.parquet` (the image in the column `file_name`), there or in a folder for each split. Images that lie
    in a table are written, byte for byte, to `output`/images/; those that are files stay where they are.

    Needed are `image` (or the only column of images) and `role` or `label`: parent, real or 0, child, fake or 1, as
    it stands there or as the name of its class. Images of one `cluster_id` (or `group`) are a cluster. `captions` are
    those of the cluster, `caption` is the image's own, `caption_index` its place among them. `generator`, `seed`,
    `source` and `image_id` are read, too. A split is what the column `split` says, else the name of the dataset's own,
    where it has several. Else, as where all is called train, it is drawn.

    Raises:
        DatasetError: no such dataset, no such column, or a value that makes no sense; the message gives the row.
    """
    yield from from_tables(open_tables(folder), folder, output)


def from_tables(tables: Sequence[Table], folder: Path, output: Path) -> Iterator[Sourced]:
    """Yield the images of a dataset in `folder` that has these tables: see `from_huggingface`."""
    images = [_image_column(table) for table in tables]
    splits = [_split(table, len(tables) > 1) for table in tables]
    rows: list[tuple[ImageRow, str]] = []  # with the image's own caption
    spoken: dict[str, list[str]] = {}
    written = itertools.count()
    for table, image, split in zip(tables, images, splits, strict=True):
        wanted = [column for column in table.columns if column in COLUMNS or column == image]
        for place, (number, record) in enumerate(table.records(wanted)):
            values = {column: _value(record.get(column), table.classes.get(column)) for column in wanted}
            try:
                role = _word(_ROLES, values, "role" if "role" in values else "label")
                path, image_id = _file(values[image], place, table, output, written)
                row = image_row(
                    path,
                    _text(values, "image_id") or image_id,
                    role,
                    _text(values, "generator") or "unknown",
                    source=_text(values, "source") or folder.absolute().name,
                    cluster=_text(values, "cluster_id") or _text(values, "group"),
                    split=_word(SPLIT_WORDS, values, "split") if _text(values, "split") else split,
                    caption_index=_number(values, "caption_index"),
                )
                row = replace(row, seed=_number(values, "seed") if role == "child" else None)
                texts, own = _captions(values)
            except ValueError as error:
                raise DatasetError(f"{table.where}, {table.unit} {number}: {error}") from None
            rows.append((row, own))
            if texts:
                spoken.setdefault(row.cluster_id, texts)
    yield from _with_captions(folder, rows, spoken)


def _image_column(table: Table) -> str:
    """Which column is read as the image, of a table that has the other columns it needs."""
    has = f"it has {', '.join(table.columns)}"
    if not {"role", "label"} & set(table.columns):
        ask = "rename the column that tells real from fake to `role` (parent or child)"
        raise DatasetError(f"{table.where} has no column role or label; {ask}; {has}")
    if not table.images:
        raise DatasetError(f"{table.where} has no column of images; {has}")
    if "image" not in table.images and len(table.images) > 1:
        raise DatasetError(f"{table.where} has several columns of images; rename the one to read to `image`; {has}")
    return "image" if "image" in table.images else table.images[0]


def _split(table: Table, several: bool) -> Split | None:
    """What the table's name means, where there are several."""
    split = SPLIT_WORDS.get(table.name.casefold()) if several else None
    if several and not split and "split" not in table.columns:
        name, known = table.name or "without a name", ", ".join(SPLIT_WORDS)
        raise DatasetError(f"{table.where}: the split {name} is not one of {known}; rename it, or add a column `split`")
    return split


def _value(value: Any, classes: Sequence[str] | None) -> Any:
    """A value, or the name of the class whose number it is."""
    if classes is None or not isinstance(value, int):
        return value
    return classes[value] if 0 <= value < len(classes) else None


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if value is None or value != value:  # as a table that was made with pandas has NaN
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{column} is {_short(value)}, not a text")
    return str(value)


def _word(meanings: Mapping[str, Meaning], values: Mapping[str, Any], column: str) -> Meaning:
    """What the word in a column means; of what is true or false, and of numbers, 1 and 0."""
    value = values[column]
    word = str(int(value) if isinstance(value, bool | float) and value in (0, 1) else value)
    meaning = meanings.get(word) or meanings.get(word.casefold())
    if meaning is None:
        raise ValueError(f"{column} is {_short(value)}, not one of {', '.join(meanings)}")
    return meaning


def _number(values: Mapping[str, Any], column: str) -> int | None:
    value = values.get(column)
    if value is None or value == "" or value != value:
        return None
    if not re.fullmatch(r"[0-9]{1,18}(\.0)?", str(value)):  # a number, that CSV files give as text
        raise ValueError(f"{column} is {_short(value)}, not a number from 0")
    return int(str(value).partition(".")[0])


def _captions(values: Mapping[str, Any]) -> tuple[list[str], str]:
    """The captions of the cluster, if the row has them, and the image's own."""
    own = values.get("caption")
    if isinstance(own, list):  # as some call all captions
        return _texts(own), ""
    return _texts(values.get("captions")), " ".join(_text(values, "caption").split())


def _texts(value: Any) -> list[str]:
    if value is None or value == "" or value != value:
        return []
    texts = value
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            texts = json.loads(value)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"captions are {_short(value)}, not a list of texts")
    return [" ".join(text.split()) for text in texts]


def _file(value: Any, place: int, table: Table, output: Path, written: Iterator[int]) -> tuple[str, str]:
    """Where the image is, written first if it is in the table alone; and what it is called if it has no id."""
    before = f"{table.name}/" if table.name else ""
    if isinstance(value, str):
        return str(table.folder / value), f"{before}{value}"
    data, name = (value["bytes"], value["path"]) if value else (None, None)
    if data is None and name:
        return str(table.folder / name), f"{before}{place}"
    # of an image that is nowhere a file without bytes is made, which gets its status as others do
    return store_image(output, next(written), data or b"", name or ""), f"{before}{place}"


def _with_captions(folder: Path, rows: list[tuple[ImageRow, str]], spoken: dict[str, list[str]]) -> Iterator[Sourced]:
    """Give each cluster the captions of its images, where it has no list of them, and each child its place there."""
    places: dict[tuple[str, str], int] = {}
    for cluster, texts in spoken.items():
        for place, text in enumerate(texts):
            places.setdefault((cluster, text), place)
    for row, own in rows:
        if own and (row.cluster_id, own) not in places:
            texts = spoken.setdefault(row.cluster_id, [])
            places[row.cluster_id, own] = len(texts)
            texts.append(own)
    for row, own in rows:
        texts = spoken.get(row.cluster_id, [])
        index = row.caption_index
        if own and (index is None or texts[index : index + 1] != [own]):
            index = places[row.cluster_id, own]
        if index is None and len(texts) == 1:
            index = 0
        if index is not None and texts and index >= len(texts):
            raise DatasetError(
                f"{folder}: image {row.image_id} is of caption {index}, but {row.cluster_id} has {len(texts)} captions"
            )
        yield (replace(row, caption_index=index) if row.role == "child" else row), texts


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
