"""What a generator is, and how a dataset is built: the tables [generators.NAME] and [build] of a study file."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Encoding = Literal["matched", "fixed", "off"]
OWN, OFF = "own", "off"  # safety checkers
ITS_OWN, NO_CHECKER = "its own", "none: the model has none"  # as they are recorded


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GeneratorSettings(_Settings):
    """A generator: a model of diffusers, by its id on the Hugging Face Hub or its folder, and how it is used."""

    model: str = Field(min_length=1)
    revision: str = ""  # a commit of the Hub; "": the newest, which is then recorded and kept to
    kind: Literal["text-to-image", "reconstruction"] = "text-to-image"
    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=7.5, ge=0)
    size: int = Field(default=512, ge=8, multiple_of=8)  # of the square that is drawn, in pixels
    negative_prompt: str = ""
    scheduler: str = ""  # a class of diffusers, such as DDIMScheduler; "": the model's own
    precision: Precision = "auto"  # half on a GPU, single on a CPU and for a reconstruction
    safety_checker: str = OWN  # the model's own if it has one, "off", or a model (owner/name@commit) whose is taken
    redraws: int = Field(default=4, ge=0)  # of a flagged child, each with the next seed
    arguments: dict[str, bool | int | float | str] = {}  # further ones, passed on to the pipeline as they are

    @model_validator(mode="after")
    def _rebuilds(self) -> Self:
        useless = sorted(self.model_fields_set - {"kind", "model", "revision", "precision"})
        if self.kind == "reconstruction" and useless:
            raise ValueError(f"a reconstruction has no {' and no '.join(useless)}")
        return self


class BuildSettings(_Settings):
    """How children are made and saved."""

    parents: str = ""  # a dataset of captioned parents
    clusters: int | None = Field(default=None, ge=1)  # only the first
    encoding: Encoding = "matched"  # both classes in the parent's form; "fixed": in JPEG; "off": as they come
    quality: int = Field(default=90, ge=1, le=100)  # of "fixed"
    size: int | None = Field(default=None, ge=8)  # both classes are scaled and cropped to size x size
    batch: int = Field(default=1, ge=1)  # children that the model draws at once


def is_commit(revision: str) -> bool:
    """Whether a revision of the Hub is a commit, and not a name that may move."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def ready() -> dict[str, dict[str, Any]]:
    """The generators that can be named without a table, by name."""
    return tomllib.loads(files("changeling").joinpath("data", "generators.toml").read_text("utf-8"))


def with_ready(given: object) -> object:
    """Fill what [generators] leaves open from the table that is ready under the same name.

    Raises:
        ValueError: a name that is not ready, without a model, or that parents are kept under.
    """
    if not isinstance(given, Mapping):
        return given
    known = ready()
    filled = {}
    for name, table in given.items():
        if not isinstance(table, Mapping):
            return given
        if name in ("parents", "index.html") or "/" in name:
            reason = "ids are made of it and /" if "/" in name else f"something else is kept as {name}"
            raise ValueError(f"[generators.{name!r}]: choose another name; {reason}")
        if name not in known and "model" not in table:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"ready are {', '.join(known)}"
            raise ValueError(f"[generators.{name}] names no model; {hint}")
        filled[name] = {**known.get(name, {}), **table}
    return filled
