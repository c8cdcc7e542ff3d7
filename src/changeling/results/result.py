"""The Result of an experiment: its tables, plots, maps and sheets of images, and how it is stored."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from changeling.errors import ReportError
from changeling.files import atomic_write

PAPER_MARGIN = 0.03  # a difference from the paper that is surely smaller counts as agreement
PAPER_ROUNDING = 5e-5  # half of 0.01 %, to which the paper rounds
Verdict = Literal["agrees", "differs", "cannot tell"]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_File):
    """A number, its 95 % interval over clusters, and the numbers of clusters and images that it was computed from.

    Shares are fractions in [0, 1], which reports print as percentages. `paper` is the value in the paper, if the
    setting is the paper's, and `paper_low` and `paper_high` are the ends of the interval that its sample size gives;
    `chance` is the chance level on these clusters, if there is one.
    """

    value: float
    low: float
    high: float
    clusters: int
    images: int
    paper: float | None = None
    chance: float | None = None
    paper_low: float | None = None
    paper_high: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What the data say about the difference from the paper, with the sampling errors of both; None without one.

        The interval of the difference is put together from both intervals (MOVER: Zou and Donner, 2008), as if the
        images were different. "differs": it does not contain 0. "agrees": it lies within 3 percentage points of 0.
        "cannot tell": it contains 0 and larger differences.
        """
        if self.paper is None or not math.isfinite(self.value):
            return None
        paper_low = self.paper if self.paper_low is None else self.paper_low
        paper_high = self.paper if self.paper_high is None else self.paper_high
        difference = self.value - self.paper
        low = difference - math.hypot(self.value - self.low, paper_high - self.paper)
        high = difference + math.hypot(self.high - self.value, self.paper - paper_low)
        if not math.isfinite(high - low):
            return "cannot tell"
        if low > PAPER_ROUNDING or high < -PAPER_ROUNDING:
            return "differs"
        return "agrees" if max(-low, high) <= PAPER_MARGIN else "cannot tell"


class Column(_File):
    """A column of estimates. `group` is the header above it: "Validation", or "Validation: S" for two levels."""

    key: str
    label: str
    group: str = ""
    chance: float | None = None  # that all rows share, drawn as a line; else see Estimate
    better: Literal["high", "low", "none"] = "high"
    shaded: bool = False  # drawn as a heat map: the higher a value is above chance, the darker its background


class Row(_File):
    """A row: a value for each of the table's `labels`, and the estimates by column key."""

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
    """A line of a plot: y at each x, and the ends of the 95 % intervals, if any."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if {len(self.y), len(self.low) or len(self.x), len(self.high) or len(self.x)} != {len(self.x)}:
            raise ValueError("x, y, low and high differ in length")
        return self


class Plot(_File):
    """Curves with a common x axis. Plots with the same title are shown side by side; `of` distinguishes them.

    If `share` is true, y is a fraction in [0, 1] that is printed as a percentage.
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
    """Points of a map. `group` is an index into the map's `groups`, which have a colour each."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    group: tuple[int, ...]
    child: tuple[bool, ...]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if {len(self.y), len(self.group), len(self.child)} != {len(self.x)}:
            raise ValueError("x, y, group and child differ in length")
        return self


class Map(_File):
    """Clouds side by side, as in Figures 6 and 7: a colour for each group, dots for children, triangles for parents."""

    title: str
    groups: tuple[str, ...]
    clouds: tuple[Cloud, ...]
    note: str = ""

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        if any(not 0 <= group < len(self.groups) for cloud in self.clouds for group in cloud.group):
            raise ValueError("group is not an index into groups")
        return self


class Picture(_File):
    """An image on a sheet. If the file does not exist, a frame with the text is drawn."""

    path: str
    role: Literal["parent", "child"] | None = None
    title: str = ""  # the generator, or the file's name
    probability: float | None = None  # of being generated
    label: Literal["real", "fake", "unsure"] | None = None
    caption: str = ""  # that a child was made from


class Strip(_File):
    """A row of pictures that belong together, such as a cluster, with a title and caption above it."""

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
    """The features that a Result was computed from."""

    backbone: str
    weights: str  # hash
    preprocessing: str  # hash


class Result(_File):
    """The outcome of an experiment, with the settings, dataset, features and versions needed to repeat it."""

    experiment: str
    title: str
    paper: str = ""  # the table or figures of the paper that it reproduces, if any
    summary: str  # the finding in one or two sentences
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
        """Write `folder/<experiment>.json` atomically, and return its path."""
        path = folder / f"{self.experiment}.json"
        with atomic_write(path) as temporary:
            # ASCII, because a path may contain bytes that are not valid UTF-8
            temporary.write_text(json.dumps(self.model_dump(), indent=1) + "\n", encoding="ascii")
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a Result. Raises ReportError if the file does not exist or is not a Result."""
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
