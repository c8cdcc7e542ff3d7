"""Table 2: a linear probe on frozen features calls each image real or fake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.paper import beside_paper
from changeling.experiments.settings import ProbeSettings
from changeling.features.store import Features
from changeling.results.format import ALL_LABEL, format_count, format_interval, format_label, format_percent
from changeling.results.result import Column, Estimate, Result, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import RESAMPLES, auroc_interval, mean_interval, ratio_interval

TITLE, PAPER = "Can a linear probe call each image real or fake?", "Table 2"
COARSE = tuple(10.0**power for power in range(-6, 3))
TRAIN_CLUSTERS = 50  # a generator with fewer in the train split has no probe of its own
_COLUMNS = {"overall": "Overall", "full": "Full cluster", "balanced": "Balanced", "auroc": "AUROC"}
_DEFAULT = ProbeSettings()


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted linear probe; `mean` and `scale` (D,) standardise a feature before it."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float
    c: float
    images: int  # trained on

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (N, D) -> log-odds of being generated (N,)."""
        scores: NDArray[np.float64] = (features - self.mean) / self.scale @ self.weight + self.bias
        return scores


def run(context: Context, settings: ProbeSettings = _DEFAULT) -> Result:
    """Train on the train split, choose C on the validation split, score both (sections 3.3 and 4.2).

    Where two generators have clusters enough to train on, a second table crosses the generator that a probe was
    trained on with the one that it is tested on: the v2.1 rows of Table 2 are such a transfer.

    Raises:
        DatasetError: a split lacks real or fake images, or no child is by the generator to train on.
        FeatureError: a backbone's features are missing or of other images.
    """
    dataset, rows, crossed, sources = context.dataset, [], [], []
    found: dict[str, str | int | float | bool | None] = {}
    crossed_by = trainers(dataset)
    valid = np.zeros(len(dataset), dtype=np.bool_)
    for done, features in enumerate(context.features(), start=1):
        name = features.header.backbone
        probe = fit_probe(dataset, features, settings, seed=context.seed)
        rows += _rows(dataset, features, probe, {}, context.seed)
        for trainer in crossed_by:
            one = settings.model_copy(update={"train_on": trainer})
            other = probe if trainer == settings.train_on else fit_probe(dataset, features, one, seed=context.seed)
            crossed += _rows(dataset, features, other, {"Trained on": trainer}, context.seed)
        found |= {f"C of {name}": probe.c, f"training images of {name}": probe.images}
        sources.append(base.source(features))
        valid |= features.valid
        context.progress("probe", done, len(context.backbones))
    table = _table(dataset, valid, base.by_generator(dataset, rows))
    as_in_paper = settings.train_on == "stable-diffusion-v1.4" and settings.children == "one"
    return Result(
        experiment="probe",
        title=TITLE,
        paper=PAPER,
        summary=_summary(table.rows),
        settings={
            "trained on children of": format_label(settings.train_on),
            "children for training": {"one": "one random child a cluster", "all": "all"}[settings.children],
            "features": "standardised: mean 0 and deviation 1 in each dimension, on the training images",
            "class weight": "balanced: real and fake images count the same in all",
            "C (the larger, the less regularised) chosen by": "the study file"
            if settings.C
            else "the lowest log loss on the validation split, classes alike",
            "resamples": RESAMPLES,
            "seed": context.seed,
        }
        | found,
        tables=(beside_paper(table, dataset) if as_in_paper else table, *_transfer(dataset, valid, crossed)),
        dataset=base.about(dataset),
        sources=tuple(sources),
        versions=base.versions(),
        notes=tuple(_unpaired(dataset, valid)),
    )


def check(context: Context, settings: ProbeSettings = _DEFAULT) -> None:
    """Raise DatasetError if there is nothing to train a probe on, even if all images have features."""
    _fitted_on(context.dataset, base.everyone(context.dataset), settings, context.seed)


def fit_probe(
    dataset: Dataset,
    features: Features,
    settings: ProbeSettings = _DEFAULT,
    *,
    seed: int = 0,
    standardise: bool = True,
) -> Probe:
    """Fit an L2 logistic regression on the train split, with the C that does best on the validation split.

    C is swept over powers of ten, then between the neighbours of the best, unless the settings give it. Raises
    DatasetError if a split lacks real or fake images.
    """
    train, val = _fitted_on(dataset, features.valid, settings, seed)
    x_train, x_val = features.values[train], features.values[val]
    mean = x_train.mean(axis=0)
    scale = x_train.std(axis=0) + np.float32(1e-6) if standardise else np.ones_like(mean)
    x_train, x_val = (x_train - mean) / scale, (x_val - mean) / scale
    y_train, y_val = dataset.labels[train], dataset.labels[val]
    losses: dict[float, float] = {}
    fitted: dict[float, tuple[NDArray[np.float64], float]] = {}
    model = LogisticRegression(class_weight="balanced", max_iter=10_000, warm_start=True)

    def sweep(grid: Sequence[float]) -> float:
        for c in grid:
            model.set_params(C=c).fit(x_train, y_train)
            fitted[c] = (model.coef_[0].astype(np.float64), float(model.intercept_[0]))
            losses[c] = _balanced_log_loss(y_val, model.decision_function(x_val))
        return min(losses, key=lambda c: (losses[c], c))

    best = sweep([settings.C] if settings.C else COARSE)
    if not settings.C:
        best = sweep([best * 10 ** (step / 4) for step in (-3, -2, -1, 1, 2, 3)])
    return Probe(mean.astype(np.float64), scale.astype(np.float64), *fitted[best], best, len(train))


def _fitted_on(
    dataset: Dataset, valid: NDArray[np.bool_], settings: ProbeSettings, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that a probe is trained on, and those that choose its C."""
    train = training_rows(dataset, valid, settings, seed)
    val = np.flatnonzero((dataset.column("split") == "val") & valid)
    for name, rows in (("train", train), ("val", val)):
        if len(set(dataset.labels[rows])) < 2:
            raise DatasetError(f"{dataset.path}: the {name} split needs real and fake images to train a probe")
    return train, val


def training_rows(
    dataset: Dataset, valid: NDArray[np.bool_], settings: ProbeSettings = _DEFAULT, seed: int = 0
) -> NDArray[np.int64]:
    """The parents of the train split and one random child of each cluster, or all of them (section 4.1)."""
    mask = (dataset.column("split") == "train") & valid
    parents = np.flatnonzero(mask & (dataset.labels == 0))
    mine = dataset.column("generator") == settings.train_on if settings.train_on != ALL_LABEL else dataset.labels == 1
    children = np.flatnonzero(mask & mine)
    if settings.train_on != ALL_LABEL and not len(children):
        raise DatasetError(
            f"{dataset.path}: no child of the train split is by {settings.train_on!r}, which the probe is to be "
            "trained on"
        )
    if settings.children == "one":
        shuffled = np.random.default_rng(seed).permutation(children)
        _, first = np.unique(dataset.clusters[shuffled], return_index=True)
        children = shuffled[first]
    return np.sort(np.concatenate([parents, children]))


def trainers(dataset: Dataset) -> list[str]:
    """Generators that have clusters enough to train a probe on, if there are two of them."""
    train = (dataset.column("split") == "train") & (dataset.labels == 1)
    names, clusters = dataset.column("generator"), dataset.clusters
    many = [
        name
        for name in base.generators(dataset)
        if len(set(clusters[train & ((names == name) | (name == ALL_LABEL))])) >= TRAIN_CLUSTERS
    ]
    return many if len(set(many) - {ALL_LABEL}) > 1 else []


def _rows(dataset: Dataset, features: Features, probe: Probe, labels: dict[str, str], seed: int) -> list[Row]:
    return [
        Row(labels=labels | {"Generator": generator, "Backbone": features.header.backbone}, cells=cells)
        for generator in base.generators(dataset)
        if (cells := _cells(dataset, features, probe, generator, seed))
    ]


def _transfer(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row]) -> list[Table]:
    """Generators trained on by generators tested on, the test split alone."""
    if not rows:
        return []
    ordered = sorted(base.by_generator(dataset, rows), key=lambda row: row.labels["Trained on"])
    columns = [
        Column(key=f"test_{key}", label=label, group="Test", chance=_chance(dataset, valid, rows, "test", key))
        for key, label in _COLUMNS.items()
    ]
    return [
        Table(
            key="transfer",
            title="Trained on one generator, tested on another",
            labels=("Trained on", "Generator", "Backbone"),
            columns=tuple(columns),
            rows=tuple(row for row in ordered if row.labels["Generator"] != ALL_LABEL),
            note="Each probe knows the real images of the train split and the children of one generator.",
        )
    ]


def _balanced_log_loss(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores))
    return float(loss[labels == 0].mean() + loss[labels == 1].mean()) / 2


def _cells(dataset: Dataset, features: Features, probe: Probe, generator: str, seed: int) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for split in base.SPLIT_TITLES:
        chosen = base.select(dataset, features.valid, generator, split)
        labels = dataset.labels[chosen]
        if len(set(labels)) < 2:
            continue
        clusters = base.compact(dataset.clusters[chosen])
        scores = probe.scores(features.values[chosen])
        called = (scores > 0).astype(np.int64)
        recalls = [metrics.recall(labels, called, clusters, label) for label in (0, 1)]
        intervals = {
            "overall": ratio_interval(metrics.overall_accuracy(labels, called, clusters), seed=seed),
            "full": ratio_interval(metrics.full_cluster_accuracy(labels, called, clusters), seed=seed),
            "balanced": mean_interval(*recalls, seed=seed),
            "auroc": auroc_interval(labels, scores, clusters, seed=seed),
        }
        cells |= {f"{split}_{key}": base.estimate(interval) for key, interval in intervals.items()}
    return cells


def _table(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row]) -> Table:
    columns = [
        Column(key=f"{split}_{key}", label=label, group=title, chance=_chance(dataset, valid, rows, split, key))
        for split, title in base.SPLIT_TITLES.items()
        for key, label in _COLUMNS.items()
    ]
    return Table(
        key="probe",
        title="Accuracy of a linear probe",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="Full cluster: every image of the cluster is rightly called. Balanced: mean of the shares of real and of "
        "fake images that are rightly called. AUROC: how often a fake image scores higher than a real one. Calling all "
        "fake scores the share of fakes under Overall.",
    )


def _chance(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row], split: str, key: str) -> float | None:
    """What guessing scores; for Overall what 'always fake' does."""
    if key == "overall":
        return always_fake(dataset, valid, rows, split)
    return 0.5 if key in ("balanced", "auroc") else None


def always_fake(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row], split: str) -> float | None:
    """The share of fakes of a split's images, if all rows rest on the same ones."""
    labels = dataset.labels[(dataset.column("split") == split) & valid]
    alone = len({row.labels["Generator"] for row in rows}) == 1
    return float(labels.mean()) if alone and len(labels) else None


def _unpaired(dataset: Dataset, valid: NDArray[np.bool_]) -> Iterator[str]:
    """What is said of splits some clusters of which are a single image."""
    for split, title in base.SPLIT_TITLES.items():
        mask = (dataset.column("split") == split) & valid
        names, sizes = np.unique(dataset.clusters[mask], return_counts=True)
        if (sizes == 1).any():
            real, fake = (np.isin(names, dataset.clusters[mask & (dataset.labels == label)]) for label in (0, 1))
            yield (
                f"Of the {format_count(len(names), 'cluster', 'clusters')} of the {title.lower()} split, "
                f"{int((real & fake).sum()):,} have a parent and a child. A single image, which is paired with none, "
                "counts as a cluster of its own."
            )


def _summary(rows: Sequence[Row]) -> str:
    best = base.best_by_validation(rows, "auroc")
    if best is None:
        return "The test split lacks real or fake images: the probe cannot be judged."
    row, features = best
    auroc, balanced = row.cells["test_auroc"], row.cells["test_balanced"]
    return (
        f"A linear probe on {features} has an AUROC of {format_percent(auroc.value)} on "
        f"{format_count(auroc.images, 'test image', 'test images')} (95 % interval "
        f"{format_interval(auroc)}) and a balanced accuracy of {format_percent(balanced.value)} "
        f"({format_interval(balanced)}), where guessing has 50 %."
    )
