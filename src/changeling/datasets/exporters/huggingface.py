"""Datasets for the Hugging Face Hub: parquet files with the images in them, and a card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import EXPORTED_COLUMNS, ExportedImage
from changeling.datasets.exporters.card import SPLIT_NAMES, check_licence, render_card
from changeling.datasets.exporters.export_folder import open_export_folder
from changeling.datasets.exporters.shards import split_into_shards
from changeling.datasets.image_files import detect_suffix
from changeling.datasets.messages import Note, ignore_note
from changeling.datasets.schema import IMAGES_SCHEMA
from changeling.progress import Progress, silent

_GROUP_BYTES, _GROUP_ROWS = 32 << 20, 1000  # of a row group, which is held in memory
_COLUMNS = [name for name in EXPORTED_COLUMNS if name != "split"]  # the name of the file says the split


@dataclass(frozen=True, slots=True)
class HuggingFaceExporter:
    """Write parquet files with the images in them, and a card: a folder to upload to the Hugging Face Hub.

    `datasets` loads the folder, and it can be uploaded as it is. `data/` has the images of each split, one row an
    image: the bytes of the file, its row of images.parquet, and its captions. An image whose status is not ok is a
    row without an image.
    """

    licence: Annotated[str, typer.Option(help="The dataset's, as the Hub spells it, such as cc-by-4.0.")] = "other"

    def export(self, dataset: Dataset, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> None:
        """Write the dataset to the folder `output`.

        Raises:
            DatasetError: `output` is not empty, a file is not the one in its row, or the licence is not a name that
                the Hub could know. Nothing is left in `output`.
        """
        check_licence(self.licence)
        with open_export_folder(dataset, output) as folder:
            for shard in split_into_shards(dataset, dataset.column("split"), progress):
                name = f"data/{SPLIT_NAMES[shard.group]}-{shard.number:05d}-of-{shard.count:05d}.parquet"
                with folder.atomic_write(name) as temporary:
                    _write_shard(temporary, shard.images)
            with folder.atomic_write("README.md") as temporary:
                temporary.write_text(render_card(dataset, self.licence), encoding="utf-8")
        note(f"fill in the licences in {output / 'README.md'} before you share the dataset")


@cache
def export_schema() -> pa.Schema:
    """The columns of the parquet files, with the feature types of `datasets` in the metadata."""
    columns = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    columns += [(name, IMAGES_SCHEMA.field(name).type) for name in _COLUMNS]
    columns += [("caption", pa.string()), ("captions", pa.list_(pa.string())), ("row", pa.int64())]
    features: dict[str, Any] = {name: {"dtype": str(arrow_type), "_type": "Value"} for name, arrow_type in columns}
    features["image"] = {"_type": "Image"}
    features["captions"] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _write_shard(path: Path, images: Iterator[ExportedImage]) -> None:
    schema = export_schema()
    dictionary_columns = [name for name in schema.names if name != "image"]  # a dictionary saves nothing on images
    with pq.ParquetWriter(path, schema, use_dictionary=dictionary_columns) as file:
        for group in _make_row_groups(images):
            file.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))


def _make_row_groups(images: Iterator[ExportedImage]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    group_bytes = 0
    for image in images:
        group.append(_make_row(image))
        group_bytes += len(image.data or b"")
        if group_bytes >= _GROUP_BYTES or len(group) == _GROUP_ROWS:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group


def _make_row(image: ExportedImage) -> dict[str, Any]:
    file = None
    if image.data is not None:
        file = {"bytes": image.data, "path": f"{image.row:09d}{detect_suffix(image.data)}"}
    columns = {name: image.columns[name] for name in _COLUMNS}
    return columns | {"image": file, "caption": image.caption, "captions": image.captions, "row": image.row}
