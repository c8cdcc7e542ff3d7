"""Table 1: how often the parent stands closest to, or farthest from, the other images of its cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.paper import beside_paper
from changeling.experiments.settings import DistancesSettings
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats.intervals import RESAMPLES, ratio_interval
from changeling.stats.metrics import Distance, distance_accuracies

TITLE, PAPER = "Is the parent the odd one out of its cluster?", "Table 1"
_DEFAULT = DistancesSettings()


def run(context: Context, settings: DistancesSettings = _DEFAULT) -> Result:
    """Min and max intra-cluster distance accuracy for every generator, backbone and split (section 4.2).

    Raises:
        FeatureError: a backbone's features are missing or of other images.
    """
    dataset, rows, sources = context.dataset, [], []
    valid = np.zeros(len(dataset), dtype=np.bool_)
    for done, features in enumerate(context.features(), start=1):
        for generator in base.generators(dataset):
            cells = _cells(dataset, features, generator, settings.distance, context.seed)
            if cells:
                rows.append(Row(labels={"Generator": generator, "Backbone": features.header.backbone}, cells=cells))
        sources.append(base.source(features))
        valid |= features.valid
        context.progress("distances", done, len(context.backbones))
    table = _table(dataset, valid, base.by_generator(dataset, rows))
    return Result(
        experiment="distances",
        title=TITLE,
        paper=PAPER,
        summary=_summary(table.rows),
        settings={"distance": settings.distance, "resamples": RESAMPLES, "seed": context.seed},
        tables=(table if settings.distance != "cosine" else beside_paper(table, dataset),),
        dataset=base.about(dataset),
        sources=tuple(sources),
        versions=base.versions(),
        notes=("A cluster counts if it has a parent and at least two children: with one child both are equally far.",),
    )


def _cells(dataset: Dataset, features: Features, generator: str, distance: Distance, seed: int) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for split in base.SPLIT_TITLES:
        chosen = base.select(dataset, features.valid, generator, split)
        if not len(chosen):
            continue
        clusters = base.compact(dataset.clusters[chosen])
        pair = distance_accuracies(features.values[chosen], dataset.labels[chosen], clusters, distance)
        for name, ratio in zip(("min", "max"), pair, strict=True):
            if ratio.denominator.any():
                cells[f"{split}_{name}"] = base.estimate(ratio_interval(ratio, seed=seed))
    return cells


def _table(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row]) -> Table:
    columns = [
        Column(
            key=f"{split}_{name}",
            label=f"{name.title()} distance",
            group=title,
            chance=chance(dataset, valid, rows, split),
            better="none",
        )
        for split, title in base.SPLIT_TITLES.items()
        for name in ("min", "max")
    ]
    return Table(
        key="distances",
        title="Min / max intra-cluster distance accuracy, raw features",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="Min: the parent's mean distance to the other images of its cluster is the smallest; max: the largest.",
    )


def chance(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row], split: str) -> float | None:
    """What guessing scores: the mean of 1 / (images of the cluster), if all rows rest on the same clusters."""
    if len({row.labels["Generator"] for row in rows}) != 1:
        return None
    mask = (dataset.column("split") == split) & valid
    sizes = np.bincount(dataset.clusters[mask])
    parents = np.bincount(dataset.clusters[mask & (dataset.labels == 0)], minlength=len(sizes))
    counted = (parents == 1) & (sizes >= 3)
    return float((1 / sizes[counted]).mean()) if counted.any() else None


def _summary(rows: Sequence[Row]) -> str:
    best = base.best_by_validation(rows, "max")
    if best is None:
        return "No cluster of the test split has a parent and two children: there is nothing to compare."
    row, features = best
    cell = row.cells["test_max"]
    return (
        f"By {features} the parent is the farthest of its cluster in {format_percent(cell.value)} of "
        f"{format_count(cell.clusters, 'test cluster', 'test clusters')} (95 % interval {format_interval(cell)})."
    )
