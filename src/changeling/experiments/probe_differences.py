"""Paired differences between the probes of each two backbones, on the same test images: a table of `probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.linear_probe import LinearProbe
from changeling.experiments.reporting import describe_multiplicity, format_p_value, make_estimate
from changeling.experiments.selection import has_both_classes, renumber_clusters
from changeling.features.store import Features
from changeling.results.format import P_VALUE_LABEL
from changeling.results.result import Column, Row, Table
from changeling.stats import metrics
from changeling.stats.cluster_statistics import auroc_statistic, combine_seeds
from changeling.stats.intervals import Interval, combination_interval, difference_interval
from changeling.stats.multiplicity import holm_adjusted, interval_p_value


@dataclass(frozen=True, slots=True)
class ScoredTestSplit:
    """What the probes on one backbone score the test images.

    Attributes:
        scores: (seeds, images of the test split), float64; the columns of images without a feature are not used.
        valid: whether an image has a feature (images of the test split,).
    """

    scores: NDArray[np.float64]
    valid: NDArray[np.bool_]


def score_test_images(dataset: Dataset, features: Features, probes: Sequence[LinearProbe]) -> ScoredTestSplit:
    """Return the scores of the test images by the probes of all seeds."""
    rows = np.flatnonzero(dataset.column("split") == "test")
    valid = features.valid[rows]
    scores = np.full((len(probes), len(rows)), np.nan)
    for seed, probe in enumerate(probes):
        scores[seed, valid] = probe.predict_scores(features.values[rows[valid]])
    return ScoredTestSplit(scores, valid)


def build_backbone_differences(dataset: Dataset, backbones: Mapping[str, ScoredTestSplit]) -> list[Table]:
    """Return the table of differences between each two backbones; none if there are no two to compare."""
    differences = {
        f"{first} minus {second}": cells
        for first, second in combinations(backbones, 2)
        if (cells := _compare(dataset, backbones[first], backbones[second]))
    }
    if not differences:
        return []
    aurocs = [cells["auroc"] for cells in differences.values()]
    p_values = holm_adjusted(np.array([interval_p_value(interval) for interval in aurocs]))
    rows = [
        Row(
            labels={"Difference": pair, P_VALUE_LABEL: format_p_value(p_value)},
            cells={f"difference_{key}": make_estimate(interval) for key, interval in cells.items()},
        )
        for (pair, cells), p_value in zip(differences.items(), p_values, strict=True)
    ]
    return [_build_table(rows, describe_multiplicity(aurocs, p_values))]


def _build_table(rows: Sequence[Row], multiplicity: str) -> Table:
    return Table(
        key="probe-differences",
        title="Differences between backbones",
        labels=("Difference", P_VALUE_LABEL),
        columns=(
            Column(key="difference_auroc", label="AUROC", group="Test", better="none"),
            Column(key="difference_balanced", label="Balanced", group="Test", better="none"),
        ),
        rows=tuple(rows),
        note="Paired differences in percentage points, on the test images of all generators that have features of both "
        "backbones. The first backbone is better where the interval is above 0, the second where it is below 0. A "
        "difference can be clear where the intervals of the two backbones overlap. The p-value is that of the AUROC. "
        + multiplicity,
    )


def _compare(dataset: Dataset, first: ScoredTestSplit, second: ScoredTestSplit) -> dict[str, Interval]:
    rows = np.flatnonzero(dataset.column("split") == "test")
    common = first.valid & second.valid
    labels, clusters = dataset.labels[rows[common]], renumber_clusters(dataset.clusters[rows[common]])
    if not has_both_classes(labels):
        return {}
    scores = first.scores[:, common], second.scores[:, common]
    aurocs = [combine_seeds([auroc_statistic(labels, run, clusters) for run in runs]) for runs in scores]
    recalls = [
        combine_seeds([metrics.recall(labels, (run > 0).astype(np.int64), clusters, label) for run in runs])
        for runs in scores
        for label in (0, 1)
    ]
    balanced = combination_interval(recalls, (0.5, 0.5, -0.5, -0.5))
    return {"auroc": difference_interval(*aurocs), "balanced": replace(balanced, images=len(labels))}
