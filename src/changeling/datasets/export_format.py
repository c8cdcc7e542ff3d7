"""What every export of a dataset holds, as exporters write it and importers read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from changeling.datasets.schema import IMAGES_SCHEMA

MANIFEST, CAPTIONS, GENERATORS = "changeling.json", "captions/captions.parquet", "generators.json"
EXPORTED_COLUMNS: tuple[str, ...] = tuple(name for name in IMAGES_SCHEMA.names if name != "path")


class Manifest(BaseModel):
    """The content of `changeling.json`. It is written last: a folder that has it is a complete export."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    images: int


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image of a dataset, as an export holds it.

    Attributes:
        row: its row number in images.parquet.
        columns: its row there, without the path.
        data: the bytes of its file; None if its status is not ok.
        caption: the caption that a child was generated from.
        captions: the captions of its cluster.
    """

    row: int
    columns: dict[str, Any]
    data: bytes | None
    caption: str | None = None
    captions: list[str] = field(default_factory=list)


def is_export(folder: Path) -> bool:
    """Whether the folder is a complete export of a dataset."""
    return (folder / MANIFEST).is_file()
