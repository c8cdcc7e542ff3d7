"""The rows of images.parquet and captions.parquet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import pyarrow as pa

from changeling.errors import DatasetError, Status

Role = Literal["parent", "child"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
RESERVED_GENERATOR = "all"  # in result tables, the row of all generators together


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One row of images.parquet.

    Attributes:
        path: relative to the dataset folder, or absolute.
        source: where the image was taken from. A detector is evaluated on sources that it was not trained on.
        caption_index: the caption of its cluster that a child was generated from, from 0.
    """

    image_id: str
    cluster_id: str
    role: Role
    path: str
    split: Split
    source: str = ""
    caption_index: int | None = None
    generator: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    sha256: str | None = None
    seed: int | None = None
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One row of captions.parquet."""

    cluster_id: str
    caption_index: int
    caption: str


def _arrow_schema(row_type: type) -> pa.Schema:
    integers = {"int": pa.int64(), "int | None": pa.int64()}
    return pa.schema([(field.name, integers.get(str(field.type), pa.string())) for field in fields(row_type)])


IMAGES_SCHEMA = _arrow_schema(ImageRow)
CAPTIONS_SCHEMA = _arrow_schema(CaptionRow)


def check_generator_name(generator: str | None, where: str) -> None:
    """Raise DatasetError if a child's generator has the reserved name. `where` says which file or row it is."""
    if generator == RESERVED_GENERATOR:
        raise DatasetError(
            f"{where}: the generator is called {RESERVED_GENERATOR!r}, which stands for all generators together in "
            "results; rename it"
        )
