"""Tables, drawings and a study at the paper's size for the tests of the report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import product
from xml.etree import ElementTree

import numpy as np

from changeling.results.result import Cloud, Column, Curve, Estimate, Map, Plot, Result, Row, Source, Table

BACKBONES = {  # with the dimensions of their features
    "rn50-imagenet": 2048,
    "vit-b32-imagenet": 768,
    "clip-rn50": 1024,
    "clip-vit-b32": 512,
    "openclip-vit-b32-laion400m": 512,
    "openclip-vit-b32-laion2b": 512,
}
GENERATORS = ("stable-diffusion-v1.4", "stable-diffusion-v2.1")
LABELS = ("Generator", "Backbone")
SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    """A drawing as elements."""
    return ElementTree.fromstring(svg)  # noqa: S314  (we wrote it ourselves)


def texts(svg: str) -> list[str]:
    """The texts of a drawing."""
    return ["".join(text.itertext()) for text in parse(svg).iter(f"{SVG}text")]


def number(value: float = 0.5, half: float = 0.1, **changes: float) -> Estimate:
    """An estimate from 12 clusters of six."""
    ends = {"low": max(0, value - half), "high": min(1, value + half)}
    return Estimate.model_validate({"value": value, **ends, "clusters": 12, "images": 72} | changes)


def table(rows: Iterable[tuple[Sequence[str], dict[str, Estimate]]], labels: Sequence[str], *columns: Column) -> Table:
    """A table of rows, each by its labels and its cells."""
    made = tuple(Row(labels=dict(zip(labels, names, strict=True)), cells=cells) for names, cells in rows)
    return Table(key="t", title="T", labels=tuple(labels), columns=columns, rows=made)


def paper_size(studied: Sequence[Result], clusters: int) -> list[Result]:
    """The same Results with the paper's backbones, generators and values, and so many clusters on their maps."""
    sources = tuple(
        Source(backbone=name, weights="e47ae323eb097b5a", preprocessing="6b9de4eef090") for name in BACKBONES
    )
    return [
        result.model_copy(
            update={
                "tables": tuple(_large(one) for one in result.tables),
                "plots": tuple(_many(result.plots)),
                "maps": tuple(_full(one, clusters, seed) for seed, one in enumerate(result.maps)),
                "sources": sources,
            }
        )
        for result in studied
    ]


def cloud(title: str, clusters: int, seed: int = 0, groups: int = 2) -> Cloud:
    """Clusters of a parent and five children, grouped by kind if there are two groups, else by cluster."""
    rng = np.random.default_rng(seed)
    child, cluster = np.tile([False] + [True] * 5, clusters), np.repeat(np.arange(clusters), 6)
    xy = rng.normal(0, 30, (clusters, 2))[cluster] + rng.normal(0, 3, (len(cluster), 2)) + 8 * child[:, None]
    group = child.astype(np.int64) if groups == 2 else cluster % groups
    x, y = (tuple(float(f"{value:.4g}") for value in axis) for axis in xy.T)
    return Cloud(title=title, x=x, y=y, group=tuple(group.tolist()), child=tuple(child.tolist()))


def _large(made: Table) -> Table:
    """A table with the paper's rows, or one of each kind; where the paper has no value, a random one.

    The tables of crossgen stay as they are, because their columns are the generators, as do differences of backbones.
    """
    if made.key.startswith("crossgen") or made.key == "probe-differences":
        return made
    rng = np.random.default_rng(0)
    text = files("changeling").joinpath("data/paper.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, float]] = json.loads(text)["figures"]
    rows = []
    choices = {
        "Backbone": tuple(BACKBONES),
        "Features": ("raw", "S", "T"),
        "Facts": tuple(dict.fromkeys(row.labels.get("Facts", "") for row in made.rows)),
    }
    for names in product(*(choices.get(label, GENERATORS) for label in made.labels)):
        values = known.get("/".join((made.key, *names)), {})
        if values or made.key in ("hidden", "transfer", "confounds", "disentangle"):
            cells = {column.key: _near(values.get(column.key), rng) for column in made.columns}
            rows.append(Row(labels=dict(zip(made.labels, names, strict=True)), cells=cells))
    return made.model_copy(update={"rows": tuple(rows)})


def _near(paper: float | None, rng: np.random.Generator) -> Estimate:
    """An estimate from 5,000 clusters whose true value is the paper's, or random."""
    about = rng.uniform() if paper is None else paper
    half = 1.96 * math.sqrt(max(about * (1 - about), 1e-4) / 5000)
    value = float(np.clip(about + rng.normal(0, half / 1.5), 0, 1))
    return number(value, half, clusters=5000, images=30000).model_copy(update={"paper": paper})


def _many(plots: Sequence[Plot]) -> Iterator[Plot]:
    """A plot of each title for each backbone, as long as the backbone's features if it is over ranks."""
    for plot in {plot.title: plot for plot in plots}.values():
        for backbone, dim in BACKBONES.items():
            curves = tuple(_long(curve, dim) if plot.x_label == "rank" else curve for curve in plot.curves)
            yield plot.model_copy(update={"of": f"{GENERATORS[0]}, {backbone}", "curves": curves})


def _long(curve: Curve, dim: int) -> Curve:
    y = np.interp(np.linspace(0, 1, dim), np.linspace(0, 1, len(curve.y)), curve.y)
    return Curve(name=curve.name, x=tuple(range(1, dim + 1)), y=tuple(y.tolist()))


def _full(drawn: Map, clusters: int, seed: int) -> Map:
    groups = len(drawn.groups)
    many = clusters if groups == 2 else groups
    clouds = tuple(cloud(one.title, many, 10 * seed + i, groups) for i, one in enumerate(drawn.clouds))
    return drawn.model_copy(update={"clouds": clouds})
