"""Table 2: a linear probe on frozen features calls each image real or fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from changeling.clusters.manifest import Dataset
from changeling.errors import DatasetError
from changeling.experiments import common
from changeling.experiments.result import Column, Estimate, Result, Row, Table
from changeling.features.store import Features, load_features
from changeling.progress import Progress, silent
from changeling.stats import metrics
from changeling.stats.intervals import RESAMPLES, auroc_interval, mean_interval, ratio_interval

COARSE = tuple(10.0**power for power in range(-6, 3))
_COLUMNS = {"overall": "Overall", "full": "Full cluster", "balanced": "Balanced", "auroc": "AUROC"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted linear probe; `mean` and `scale` (D,) standardise a feature before it."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float
    c: float

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (N, D) -> log-odds of being generated (N,)."""
        scores: NDArray[np.float64] = (features - self.mean) / self.scale @ self.weight + self.bias
        return scores


def run(dataset: Dataset, backbones: Sequence[str], *, seed: int = 0, progress: Progress = silent) -> Result:
    """Train on the train split, choose C on the validation split, score both (sections 3.3 and 4.2).

    Raises:
        DatasetError: a split lacks real or fake images.
        FeatureError: a backbone's features are missing or of other images.
    """
    features = [load_features(dataset, backbone) for backbone in backbones]
    probes = []
    for one in features:
        probes.append(fit_probe(dataset, one, seed=seed))
        progress("probe", len(probes), len(features))
    rows = [
        Row(labels={"Generator": generator, "Backbone": one.header.backbone}, cells=cells)
        for generator in common.generators(dataset)
        for one, probe in zip(features, probes, strict=True)
        if (cells := _cells(dataset, one, probe, generator, seed))
    ]
    settings: dict[str, str | int | float | bool | None] = {
        "children for training": "one random child a cluster",
        "features": "standardised on the training images",
        "class weight": "balanced",
        "C chosen by": "log loss on the validation split, classes weighing the same",
        "resamples": RESAMPLES,
        "seed": seed,
    }
    settings |= {f"C of {one.header.backbone}": probe.c for one, probe in zip(features, probes, strict=True)}
    return Result(
        experiment="probe",
        title="Can a linear probe call each image real or fake?",
        paper="Table 2",
        summary=_summary(rows),
        settings=settings,
        tables=(_table(dataset, rows),),
        dataset=common.about(dataset) | {"training images": len(training_rows(dataset, features[0], seed))},
        sources=common.sources(features),
        versions=common.versions(),
    )


def fit_probe(dataset: Dataset, features: Features, *, seed: int = 0) -> Probe:
    """Fit an L2 logistic regression on the train split, with the C that does best on the validation split.

    C is swept over powers of ten, then between the neighbours of the best. Raises DatasetError if a split lacks
    real or fake images.
    """
    train = training_rows(dataset, features, seed)
    val = np.flatnonzero((dataset.column("split") == "val") & features.valid)
    for name, rows in (("train", train), ("val", val)):
        if len(set(dataset.labels[rows])) < 2:
            raise DatasetError(f"{dataset.path}: the {name} split needs real and fake images to train a probe")
    mean, scale = features.values[train].mean(axis=0), features.values[train].std(axis=0) + 1e-6
    x_train, x_val = ((features.values[rows] - mean) / scale for rows in (train, val))
    y_train, y_val = dataset.labels[train], dataset.labels[val]

    losses: dict[float, float] = {}
    models: dict[float, LogisticRegression] = {}

    def sweep(grid: Sequence[float]) -> float:
        for c in grid:
            models[c] = LogisticRegression(C=c, class_weight="balanced", max_iter=10_000).fit(x_train, y_train)
            losses[c] = _balanced_log_loss(y_val, models[c].decision_function(x_val))
        return min(losses, key=lambda c: (losses[c], c))

    best = sweep(COARSE)
    best = sweep([best * 10 ** (step / 4) for step in (-3, -2, -1, 1, 2, 3)])
    model = models[best]
    return Probe(mean.astype(np.float64), scale.astype(np.float64), model.coef_[0], float(model.intercept_[0]), best)


def training_rows(dataset: Dataset, features: Features, seed: int) -> NDArray[np.int64]:
    """The parents of the train split and one random child of each cluster (section 4.1)."""
    mask = (dataset.column("split") == "train") & features.valid
    parents = np.flatnonzero(mask & (dataset.labels == 0))
    children = np.flatnonzero(mask & (dataset.labels == 1))
    shuffled = np.random.default_rng(seed).permutation(children)
    _, first = np.unique(dataset.clusters[shuffled], return_index=True)
    return np.sort(np.concatenate([parents, shuffled[first]]))


def _balanced_log_loss(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores))
    return float(loss[labels == 0].mean() + loss[labels == 1].mean()) / 2


def _cells(dataset: Dataset, features: Features, probe: Probe, generator: str, seed: int) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for split in common.SPLIT_TITLES:
        chosen = common.select(dataset, features.valid, generator, split)
        labels = dataset.labels[chosen]
        if len(set(labels)) < 2:
            continue
        clusters = common.compact(dataset.clusters[chosen])
        scores = probe.scores(features.values[chosen])
        called = (scores > 0).astype(np.int64)
        recalls = [metrics.recall(labels, called, clusters, label) for label in (0, 1)]
        intervals = {
            "overall": ratio_interval(metrics.overall_accuracy(labels, called, clusters), seed=seed),
            "full": ratio_interval(metrics.full_cluster_accuracy(labels, called, clusters), seed=seed),
            "balanced": mean_interval(*recalls, seed=seed),
            "auroc": auroc_interval(labels, scores, clusters, seed=seed),
        }
        cells |= {f"{split}_{key}": common.estimate(interval) for key, interval in intervals.items()}
    return cells


def _table(dataset: Dataset, rows: Sequence[Row]) -> Table:
    columns = [
        Column(key=f"{split}_{key}", label=label, group=title, chance=_chance(dataset, rows, split, key))
        for split, title in common.SPLIT_TITLES.items()
        for key, label in _COLUMNS.items()
    ]
    return Table(
        key="probe",
        title="Accuracy of a linear probe",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="Full cluster: every image of the cluster is rightly called. Balanced: mean of the shares of real and of "
        "fake images that are rightly called. Chance under Overall is what 'always fake' scores.",
    )


def _chance(dataset: Dataset, rows: Sequence[Row], split: str, key: str) -> float | None:
    """What guessing scores; for Overall what 'always fake' does, if all rows rest on the same images."""
    if key == "overall":
        labels = dataset.labels[dataset.column("split") == split]
        alone = len({row.labels["Generator"] for row in rows}) == 1
        return float(labels.mean()) if alone and len(labels) else None
    return 0.5 if key in ("balanced", "auroc") else None


def _summary(rows: Sequence[Row]) -> str:
    best = common.best_by_validation(rows, "auroc")
    if best is None:
        return "The test split lacks real or fake images: the probe cannot be judged."
    auroc, balanced = best.cells["test_auroc"], best.cells["test_balanced"]
    return (
        f"A linear probe on {best.labels['Backbone']} features, the best on validation, has an AUROC of "
        f"{auroc.value:.3f} on {auroc.images} test images (95 % interval {auroc.low:.3f} to {auroc.high:.3f}) and a "
        f"balanced accuracy of {common.percent(balanced.value)} ({common.percent(balanced.low)} to "
        f"{common.percent(balanced.high)}), where guessing has 50 %."
    )
