"""What every experiment returns and every report reads: tables, plots, maps and sheets of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from changeling.errors import ReportError
from changeling.files import atomic_write


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_File):
    """A number, its 95 % interval from a bootstrap over clusters, and how many clusters and images it rests on.

    Shares are fractions in [0, 1]; the report prints them as per cent. `paper` is what the paper reports, where the
    setting is the paper's.
    """

    value: float
    low: float
    high: float
    clusters: int
    images: int
    paper: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the interval holds the paper's value, to the paper's own rounding (half of 0.01 %)."""
        return self.paper is not None and self.low - 5e-5 <= self.paper <= self.high + 5e-5


class Column(_File):
    """A column of estimates. `group` is the header above it: "Validation", or "Validation: S" for two levels."""

    key: str
    label: str
    group: str = ""
    chance: float | None = None  # what guessing scores, drawn as a line; None where it has no one value
    better: Literal["high", "low", "none"] = "high"


class Row(_File):
    """A row: its labels, one for each of the table's `labels`, and its estimates by column key."""

    labels: dict[str, str]
    cells: dict[str, Estimate]


class Table(_File):
    """A table as in the paper: label columns on the left, estimates under grouped headers on the right."""

    key: str
    title: str
    labels: tuple[str, ...]  # names of the label columns, e.g. ("Generator", "Backbone")
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


class Curve(_File):
    """A line of a plot: y at each x, with the ends of the 95 % interval where there is one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if {len(self.y), len(self.low) or len(self.x), len(self.high) or len(self.x)} != {len(self.x)}:
            raise ValueError("x, y, low and high differ in length")
        return self


class Plot(_File):
    """Curves over one x axis. Plots of one title stand side by side; `of` tells them apart ("all, clip-vit-b16").

    A `share` is a fraction in [0, 1] and printed as per cent.
    """

    title: str
    of: str = ""
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_log: bool = False
    y_log: bool = False
    share: bool = False
    chance: float | None = None
    note: str = ""


class Cloud(_File):
    """Points of a map: place, colour and shape. `group` indexes the map's `groups`; a child is a dot."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    group: tuple[int, ...]
    child: tuple[bool, ...]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if {len(self.y), len(self.group), len(self.child)} != {len(self.x)}:
            raise ValueError("x, y, group and child differ in length")
        return self


class Map(_File):
    """Clouds side by side, such as Figures 6 and 7: a colour a group, dots for children, triangles for parents."""

    title: str
    groups: tuple[str, ...]
    clouds: tuple[Cloud, ...]
    note: str = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if any(not 0 <= group < len(self.groups) for cloud in self.clouds for group in cloud.group):
            raise ValueError("a point is of a group that has no name")
        return self


class Picture(_File):
    """One image on a sheet. A file that is not there is drawn as an empty frame with its text."""

    path: str
    role: Literal["parent", "child"] | None = None
    title: str = ""  # the generator, or the file's name
    probability: float | None = None  # of being generated
    label: Literal["real", "fake", "unsure"] | None = None


class Strip(_File):
    """A row of pictures that belong together, such as a cluster, with the text above it."""

    title: str
    caption: str = ""
    pictures: tuple[Picture, ...]


class Sheet(_File):
    """A contact sheet."""

    key: str
    title: str
    strips: tuple[Strip, ...]
    note: str = ""


class Source(_File):
    """Which features a Result rests on."""

    backbone: str
    weights: str  # hash
    preprocessing: str  # hash


class Result(_File):
    """One experiment's outcome, with all that is needed to repeat it."""

    experiment: str
    title: str
    paper: str = ""  # which table or figure of the paper it is, if any
    summary: str  # one or two sentences: what was found
    settings: dict[str, str | int | float | bool | None]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    maps: tuple[Map, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    dataset: dict[str, str | int] = Field(default_factory=dict)  # name, hash, counts
    sources: tuple[Source, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> Path:
        """Write `folder/<experiment>.json`, whole or not at all; return its path."""
        path = folder / f"{self.experiment}.json"
        with atomic_write(path) as temporary:
            # json's ASCII rather than pydantic's UTF-8: a path may hold bytes that are no text
            temporary.write_text(json.dumps(self.model_dump(), indent=1) + "\n", encoding="ascii")
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read one Result. Raises ReportError if it is not one."""
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise ReportError(f"{path}: no such result; run `changeling study` first") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "file"
            raise ReportError(f"{path}: not a Result: {where}: {first['msg']}") from None
        except ValueError as error:
            raise ReportError(f"{path}: not a Result: {error}") from None
