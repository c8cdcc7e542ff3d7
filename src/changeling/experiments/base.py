"""What experiments share: picking a generator's images of a split, and saying what a Result rests on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.features.store import Features, load_features
from changeling.progress import Progress, silent
from changeling.results.format import ALL_LABEL
from changeling.results.result import Estimate, Row, Source
from changeling.stats.intervals import Interval

MIN_CLUSTERS = 3  # a generator with fewer clusters in every split has no row of its own
SPLIT_TITLES: dict[Split, str] = {"val": "Validation", "test": "Test"}


@dataclass(frozen=True, slots=True)
class Context:
    """What every experiment is given beside its settings.

    Attributes:
        heads: the folder in which trained heads are kept and found again; None keeps none.
    """

    dataset: Dataset
    backbones: Sequence[str]
    seed: int = 0
    heads: Path | None = None
    progress: Progress = silent

    def features(self) -> Iterator[Features]:
        """The features by each backbone, one at a time: at the paper's size each is 1.5 GB."""
        for backbone in self.backbones:
            yield load_features(self.dataset, backbone)


def everyone(dataset: Dataset) -> NDArray[np.bool_]:
    """A mask of all images (N,)."""
    return np.ones(len(dataset), dtype=np.bool_)


def by_generator(dataset: Dataset, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows that were made backbone by backbone, in the order of the paper's tables: generator by generator."""
    order = generators(dataset)
    return tuple(sorted(rows, key=lambda row: order.index(row.labels["Generator"])))


def generators(dataset: Dataset) -> list[str]:
    """Labels of the rows of a table: the one generator, or `all` and each that has enough clusters, sorted."""
    names, clusters, splits = dataset.column("generator"), dataset.clusters, dataset.column("split")
    present = sorted(set(names[dataset.labels == 1]))
    if len(present) == 1:
        return present
    counted = [
        name
        for name in present
        if any(len(set(clusters[(names == name) & (splits == split)])) >= MIN_CLUSTERS for split in SPLIT_TITLES)
    ]
    return [ALL_LABEL, *counted]


def select(dataset: Dataset, valid: NDArray[np.bool_], generator: str, split: Split) -> NDArray[np.int64]:
    """Rows of a split: all for `all` or a lone generator; else its children and the parents of their clusters."""
    mask = (dataset.column("split") == split) & valid
    children = mask & (dataset.column("generator") == generator)
    if generator != ALL_LABEL and children.sum() < (mask & (dataset.labels == 1)).sum():
        parents = mask & (dataset.labels == 0) & np.isin(dataset.clusters, dataset.clusters[children])
        mask = children | parents
    return np.flatnonzero(mask)


def best_by_validation(rows: Sequence[Row], column: str) -> tuple[Row, str] | None:
    """The row of the first generator (`all`, or the only one) that does best on validation and was tested.

    What is said of the test split is then not chosen by it. With it comes what its features are called in a sentence:
    the best on validation if they are that among several, alone. Of equals the first is taken.
    """
    first = rows[0].labels["Generator"] if rows else ""
    tested = [row for row in rows if row.labels["Generator"] == first and f"test_{column}" in row.cells]
    if not tested:
        return None
    values = [row.cells[f"val_{column}"].value if f"val_{column}" in row.cells else -1.0 for row in tested]
    best = tested[values.index(max(values))]
    alone = len(tested) > 1 and min(values) >= 0 and values.count(max(values)) == 1
    return best, f"{best.labels['Backbone']} features{', the best on validation,' if alone else ''}"


def compact(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber clusters as 0 .. C - 1."""
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)


def estimate(interval: Interval) -> Estimate:
    """An interval as a Result holds it."""
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        clusters=interval.clusters,
        images=interval.images,
    )


def about(dataset: Dataset) -> dict[str, str | int]:
    """Which dataset a Result rests on, with its counts: of images that are there, and of rows without one, if any."""
    good = dataset.column("status") == "ok"
    labels, lost = dataset.labels[good], int((~good).sum())
    counts = {
        "images": len(labels),
        "clusters": len(set(dataset.clusters[good])),
        "parents": int((labels == 0).sum()),
        "children": int(labels.sum()),
    }
    told: dict[str, str | int] = {"name": dataset.path.absolute().name, "hash": dataset.hash}
    return told | counts | ({"rows without an image": lost} if lost else {})


def source(features: Features) -> Source:
    """Which features a number rests on."""
    header = features.header
    return Source(backbone=header.backbone, weights=header.weights, preprocessing=header.preprocessing)


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    packages = ("changeling", "numpy", "scipy", "scikit-learn", "openTSNE")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
