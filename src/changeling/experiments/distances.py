"""How often the parent is the image of its cluster with the smallest or largest mean distance to the others.

Where the parent often has the largest distance, children resemble each other more than they resemble their parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context, Cost, Experiment, Machine, Settings, estimate_memory
from changeling.experiments.paper import add_paper_values
from changeling.experiments.reporting import (
    describe_dataset,
    describe_source,
    find_common_chance,
    list_versions,
    make_estimate,
    select_best_row,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import SPLIT_TITLES, list_generators, renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats.intervals import ratio_interval
from changeling.stats.metrics import Distance, DistanceTo, Ratio, distance_accuracies

TARGETS: dict[DistanceTo, str] = {"others": "the other images", "fakes": "the fake images"}
_NO_CHANCE = (
    " A child's mean leaves out the child itself, and so has one distance less than the parent's: there is no level of "
    "chance."
)


class DistancesSettings(Settings):
    """Settings of Table 1."""

    distance: Distance = Field(default="cosine", description='"cosine" or "l2"')
    to: DistanceTo = Field(
        default="others",
        description='mean distance of each image to the "others" of its cluster, or to its other "fakes"; the paper '
        "allows both readings",
    )


def run(context: Context, settings: DistancesSettings) -> Result:
    """Compute min and max intra-cluster distance accuracy for every generator, backbone and split (section 4.2).

    Raises:
        FeatureError: a backbone's features are missing, or were extracted from other images.
    """
    dataset, rows, sources = context.dataset, [], []
    for done, features in enumerate(context.load_features(), start=1):
        for generator in list_generators(dataset):
            cells = _compute_cells(dataset, features, generator, settings)
            if cells:
                rows.append(Row(labels={"Generator": generator, "Backbone": features.header.backbone}, cells=cells))
        sources.append(describe_source(features))
        context.progress("distances", done, len(context.backbones))
    table = _build_table(sort_by_generator(dataset, rows), settings)
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=summarise_by_generator(dataset, table.rows, partial(_summarise, settings=settings)),
        settings={"distance": settings.distance, "mean distance to": TARGETS[settings.to], "seed": context.seed},
        tables=(add_paper_values(table, context, settings, DistancesSettings(to=settings.to)),),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(
            "Only clusters with a parent and at least two children are counted: with a single child both images are "
            "at the same distance from each other.",
        ),
    )


def check(context: Context, settings: DistancesSettings) -> None:
    """Accept any dataset: a generator or split without clusters has no cells."""


def cost(context: Context, settings: DistancesSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dims = machine.get_dims(context)
    clusters = len(np.unique(context.dataset.clusters))
    return Cost(1 + 7e-5 * clusters * len(dims), estimate_memory(context.dataset, max(dims)))


def _compute_cells(
    dataset: Dataset, features: Features, generator: str, settings: DistancesSettings
) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for split in SPLIT_TITLES:
        rows = select_rows(dataset, features.valid, generator, split)
        if not len(rows):
            continue
        clusters = renumber_clusters(dataset.clusters[rows])
        accuracies = distance_accuracies(
            features.values[rows], dataset.labels[rows], clusters, settings.distance, settings.to
        )
        for name, ratio in zip(("min", "max"), accuracies, strict=True):
            if ratio.denominator.any():
                chance = compute_chance(clusters, ratio) if settings.to == "others" else None
                cells[f"{split}_{name}"] = make_estimate(ratio_interval(ratio), chance)
    return cells


def _build_table(rows: Sequence[Row], settings: DistancesSettings) -> Table:
    columns = [
        Column(
            key=f"{split}_{name}",
            label=f"{name.title()} distance",
            group=title,
            chance=find_common_chance(rows, f"{split}_{name}"),
            better="none",
        )
        for split, title in SPLIT_TITLES.items()
        for name in ("min", "max")
    ]
    return Table(
        key="distances",
        title="Min / max intra-cluster distance accuracy, raw features",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"Min: share of clusters in which the parent has the smallest mean distance to {TARGETS[settings.to]}; "
        f"max: the largest.{_NO_CHANCE if settings.to == 'fakes' else ''}",
    )


def compute_chance(clusters: NDArray[np.int64], accuracy: Ratio) -> float:
    """Return the chance level of a distance accuracy: the mean of 1 / (number of images) over its clusters.

    `clusters` are numbers in 0 .. C - 1 of the images (N,) that the accuracy rests on.
    """
    sizes = np.bincount(clusters)
    return float((1 / sizes[accuracy.denominator > 0]).mean())


def _summarise(rows: Sequence[Row], settings: DistancesSettings) -> str:
    best = select_best_row(rows, "max")
    if best is None:
        return "No cluster of the test split has a parent and two children, so there are no distances to compare."
    row, features = best
    cell = row.cells["test_max"]
    return (
        f"With {features} the parent has the largest mean distance to {TARGETS[settings.to]} in "
        f"{format_percent(cell.value)} of {format_count(cell.clusters, 'test cluster', 'test clusters')} "
        f"(95 % interval {format_interval(cell)})."
    )


EXPERIMENT = Experiment(
    name="distances",
    title="Is the parent the outlier of its cluster?",
    paper="Table 1",
    settings=DistancesSettings,
    check=check,
    run=run,
    cost=cost,
)
