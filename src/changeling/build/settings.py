"""The settings of a build: the table [build] of a study file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EncodingPolicy = Literal["matched", "fixed", "off"]


class BuildSettings(BaseModel):
    """How children are made and saved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parents: str = ""  # a dataset of captioned parents
    clusters: int | None = Field(default=None, ge=1)  # only the first
    # matched: parents and children in the parent's encoding; fixed: both in JPEG; off: parents unchanged, children PNG
    encoding: EncodingPolicy = "matched"
    quality: int = Field(default=90, ge=1, le=100)  # JPEG quality of "fixed"
    size: int | None = Field(default=None, ge=8)  # parents and children are scaled and cropped to size x size
    batch: int = Field(default=1, ge=1)  # children that the model draws at once
