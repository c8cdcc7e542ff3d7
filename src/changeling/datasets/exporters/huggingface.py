"""Write a dataset as the Hugging Face Hub wants one: parquet files with the images in them, and a card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.base import FIELDS, Carried, exporting, shards
from changeling.datasets.exporters.card import SPLIT_NAMES, card, check_licence
from changeling.datasets.image_files import suffix
from changeling.datasets.schema import IMAGES_SCHEMA
from changeling.progress import Progress, silent

_GROUP_BYTES, _GROUP_ROWS = 32 << 20, 1000  # of a row group, which is held in memory
_FIELDS = [name for name in FIELDS if name != "split"]  # which the file's name says


def _schema() -> pa.Schema:
    """The columns, and in metadata what `datasets` takes them for."""
    columns = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    columns += [(name, IMAGES_SCHEMA.field(name).type) for name in _FIELDS]
    columns += [("caption", pa.string()), ("captions", pa.list_(pa.string())), ("row", pa.int64())]
    features: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns}
    features["image"] = {"_type": "Image"}
    features["captions"] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


SCHEMA = _schema()


def to_huggingface(dataset: Dataset, output: Path, *, licence: str = "other", progress: Progress = silent) -> None:
    """Write the dataset to the folder `output`, from which `datasets` loads it and which can be uploaded as it is.

    `data/` has the images of each split, a row an image: the file's own bytes, its row of images.parquet, and its
    captions. An image whose status is not ok is a row without an image. `licence` is written in the card, as the
    Hub spells licences.

    Raises:
        DatasetError: `output` holds something already, a file is not what its row says, or no such licence can be.
            Nothing is left there.
    """
    check_licence(licence)
    with exporting(dataset, output) as folder:
        for shard in shards(dataset, dataset.column("split"), progress):
            name = f"data/{SPLIT_NAMES[shard.group]}-{shard.number:05d}-of-{shard.of:05d}.parquet"
            with folder.atomic_write(name) as temporary:
                _write(temporary, shard.images)
        with folder.atomic_write("README.md") as temporary:
            temporary.write_text(card(dataset, licence), encoding="utf-8")


def _write(path: Path, images: Iterator[Carried]) -> None:
    words = [name for name in SCHEMA.names if name != "image"]  # no two images are alike: no dictionary of them
    with pq.ParquetWriter(path, SCHEMA, use_dictionary=words) as file:
        for group in _row_groups(images):
            file.write_batch(pa.RecordBatch.from_pylist(group, schema=SCHEMA))


def _row_groups(images: Iterator[Carried]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    held = 0
    for image in images:
        file = None
        if image.data is not None:
            file = {"bytes": image.data, "path": f"{image.row:09d}{suffix(image.data)}"}
            held += len(image.data)
        more = {"image": file, "caption": image.caption, "captions": image.captions, "row": image.row}
        group.append({name: image.fields[name] for name in _FIELDS} | more)
        if held >= _GROUP_BYTES or len(group) == _GROUP_ROWS:
            yield group
            group, held = [], 0
    if group:
        yield group
