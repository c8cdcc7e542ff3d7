"""Evaluation of linear probes, of one seed or several: overall, full-cluster and balanced accuracy, and AUROC."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe
from changeling.experiments.reporting import make_estimate, make_estimate_over_seeds
from changeling.experiments.selection import (
    SPLIT_TITLES,
    has_both_classes,
    list_generators,
    renumber_clusters,
    select_rows,
)
from changeling.features.store import Features
from changeling.results.result import Estimate, Row
from changeling.stats import metrics
from changeling.stats.cluster_statistics import auroc_statistic, combine_seeds
from changeling.stats.intervals import mean_interval

COLUMNS = {"overall": "Overall", "full": "Full cluster", "balanced": "Balanced", "auroc": "AUROC"}


def fit_probes(context: Context, features: Features, settings: ProbeSettings) -> list[LinearProbe]:
    """Fit a probe for each seed of a study. Raises DatasetError as `fit_probe`."""
    return [fit_probe(context.dataset, features, settings, seed=run.seed) for run in context.list_runs()]


def evaluate_probes(
    dataset: Dataset, features: Features, probes: Sequence[LinearProbe], labels: dict[str, str]
) -> list[Row]:
    """Return a row for each generator, with `labels` before its own; `probes` are those of the seeds."""
    return [
        Row(labels=labels | {"Generator": generator, "Backbone": features.header.backbone}, cells=cells)
        for generator in list_generators(dataset)
        if (cells := _compute_cells(dataset, features, probes, generator))
    ]


def _compute_cells(
    dataset: Dataset, features: Features, probes: Sequence[LinearProbe], generator: str
) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for split in SPLIT_TITLES:
        rows = select_rows(dataset, features.valid, generator, split)
        labels = dataset.labels[rows]
        if not has_both_classes(labels):
            continue
        scores = [probe.predict_scores(features.values[rows]) for probe in probes]
        estimates = _estimate_accuracies(labels, scores, renumber_clusters(dataset.clusters[rows]))
        cells |= {f"{split}_{key}": estimate for key, estimate in estimates.items()}
    return cells


def _estimate_accuracies(
    labels: NDArray[np.int64], scores: Sequence[NDArray[np.float64]], clusters: NDArray[np.int64]
) -> dict[str, Estimate]:
    """Return the estimates of images from their scores, one array (N,) a seed."""
    predicted = [(one > 0).astype(np.int64) for one in scores]
    recalls = [combine_seeds([metrics.recall(labels, one, clusters, label) for one in predicted]) for label in (0, 1)]
    return {
        "overall": make_estimate_over_seeds(
            [metrics.overall_accuracy(labels, one, clusters) for one in predicted],
            float(labels.mean()),  # chance: that of "always fake"
        ),
        "full": make_estimate_over_seeds([metrics.full_cluster_accuracy(labels, one, clusters) for one in predicted]),
        "balanced": make_estimate(mean_interval(*recalls), 0.5),
        "auroc": make_estimate_over_seeds([auroc_statistic(labels, one, clusters) for one in scores], 0.5),
    }
