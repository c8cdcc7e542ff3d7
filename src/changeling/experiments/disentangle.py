"""Table 4: S hides what tells real from fake, T brings it out; and what S hides or only rescales."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from changeling.datasets.dataset import Dataset
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.distances import chance
from changeling.experiments.paper import beside_paper
from changeling.experiments.probe import always_fake, fit_probe, training_rows
from changeling.experiments.projections import Projection, train_head, trainable
from changeling.experiments.settings import DisentangleSettings, ProbeSettings
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_label, format_percent
from changeling.results.result import Column, Curve, Estimate, Plot, Result, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import RESAMPLES, mean_interval, ratio_interval

TITLE, PAPER = "How much of what gives a fake away is style, and how much is meaning?", "Table 4"
CURVE = tuple(10.0**power for power in range(-4, 7, 2))
CURVE_IMAGES = 20_000  # the curve and the non-linear probe are trained on so many images at most
_MEASURES = {  # by head: key, label
    "S": {"s_overall": "Overall", "s_full": "Full cluster"},
    "T": {"t_min": "Min distance", "t_max": "Max distance"},
}
_DEFAULT = DisentangleSettings()


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Accuracies of probes in each space: at every C of the curve, and of the non-linear one."""

    labels: dict[str, str]
    curves: dict[str, list[Estimate]]
    deep: dict[str, Estimate]


_Heads = tuple[dict[str, str], Projection, Projection]


def run(context: Context, settings: DisentangleSettings = _DEFAULT) -> Result:
    """Train S and T for each generator and backbone; probe S, measure distances in T (sections 3.4 and 4.2).

    Raises:
        DatasetError: the train split has no two clusters with a parent and a child, or a split lacks a class.
        FeatureError: a backbone's features are missing or of other images.
    """
    dataset, rows, sources = context.dataset, [], []
    heads: list[_Heads] = []
    hidden: list[_Hidden] = []
    valid = np.zeros(len(dataset), dtype=np.bool_)
    for features in context.features():
        for generator in trainable(dataset, features.valid):
            labels = {"Generator": generator, "Backbone": features.header.backbone}
            s = train_head(context, features, generator, "S", settings)
            t = train_head(context, features, generator, "T", settings)
            hiding = replace(features, values=s(features.values))
            cells = _cells(context, features, hiding, t, generator, settings.C)
            if cells:
                rows.append(Row(labels=labels, cells=cells))
            heads.append((labels, s, t))
            if settings.curve and "test_s_overall" in cells:
                hidden.append(_hidden(context, {"raw features": features, "S": hiding}, labels))
        sources.append(base.source(features))
        valid |= features.valid
    table = _table(dataset, valid, base.by_generator(dataset, rows))
    return Result(
        experiment="disentangle",
        title=TITLE,
        paper=PAPER,
        summary=_summary(table.rows),
        settings={
            "S and T": "square linear maps without bias, beginning at random in ±1/√D; outputs of unit length",
            "optimiser": "AdamW, betas 0.9 and 0.999",
            "learning rate": settings.lr,
            "weight decay": settings.weight_decay,
            "epochs": settings.epochs,
            "images in a batch, of whole clusters": settings.batch,
            "temperature": settings.temperature,
            "the loss of a batch": "the mean over its images (anchors, in Eq. 5)",
            "trained on": "each generator's clusters of the train split",
            "probe on S": f"logistic regression, C = {settings.C:g}, features not standardised",
            "resamples": RESAMPLES,
            "seed": context.seed,
        }
        | {
            f"clusters that S and T of {format_label(_label(labels))} were trained on": s.clusters
            for labels, s, _ in heads
        },
        tables=(beside_paper(table, dataset), *_probes(hidden)),
        plots=(*_curves(hidden), *_trained(heads)),
        dataset=base.about(dataset),
        sources=tuple(sources),
        versions=base.versions(),
        notes=(
            "The two terms of Eq. 4 have the same denominator, anchor by anchor, so it cancels: the temperature and "
            "the way a sum is averaged only scale the loss, to which AdamW is indifferent. Weight decay is no scale.",
            "S is a square linear map. Unless it is singular a probe that is hardly regularised undoes it: the curve "
            "over C tells what is hidden (low everywhere) from what is only rescaled (low at small C alone).",
        ),
    )


def check(context: Context) -> None:
    """Raise DatasetError if there is nothing to train S and T on, even if all images have features."""
    trainable(context.dataset, base.everyone(context.dataset))


def _cells(
    context: Context, features: Features, hiding: Features, t: Projection, generator: str, c: float
) -> dict[str, Estimate]:
    """Accuracies of a probe on `hiding`, the features after S, and distances after T."""
    dataset, cells = context.dataset, {}
    probe = fit_probe(dataset, hiding, ProbeSettings(C=c, train_on=generator), seed=context.seed, standardise=False)
    for split in base.SPLIT_TITLES:
        chosen = base.select(dataset, features.valid, generator, split)
        labels, clusters = dataset.labels[chosen], base.compact(dataset.clusters[chosen])
        if len(set(labels)) < 2:
            continue
        called = (probe.scores(hiding.values[chosen]) > 0).astype(np.int64)
        smallest, largest = metrics.distance_accuracies(t(features.values[chosen]), labels, clusters)
        ratios = {
            "s_overall": metrics.overall_accuracy(labels, called, clusters),
            "s_full": metrics.full_cluster_accuracy(labels, called, clusters),
            "t_min": smallest,
            "t_max": largest,
        }
        for key, ratio in ratios.items():
            if ratio.denominator.any():
                cells[f"{split}_{key}"] = base.estimate(ratio_interval(ratio, seed=context.seed))
    return cells


def _hidden(context: Context, spaces: dict[str, Features], labels: dict[str, str]) -> _Hidden:
    """Balanced accuracy on the test split of probes that are trained in each space."""
    dataset, generator, features = context.dataset, labels["Generator"], next(iter(spaces.values()))
    train = training_rows(dataset, features.valid, ProbeSettings(train_on=generator), context.seed)
    train = np.sort(np.random.default_rng(context.seed).permutation(train)[:CURVE_IMAGES])
    test = base.select(dataset, features.valid, generator, "test")
    clusters = base.compact(dataset.clusters[test])
    y_train, y_test = dataset.labels[train], dataset.labels[test]

    def judged(called: NDArray[np.int64]) -> Estimate:
        recalls = [metrics.recall(y_test, called, clusters, label) for label in (0, 1)]
        return base.estimate(mean_interval(*recalls, seed=context.seed))

    found = _Hidden(labels, {}, {})
    for name, one in spaces.items():
        x_train, x_test = _alike(one.values[train], one.values[test])
        found.curves[name] = [judged(called) for called in _linear(x_train, y_train, x_test)]
        found.deep[name] = judged(_non_linear(x_train, y_train, x_test, context.seed))
    return found


def _alike(train: NDArray[np.float32], test: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre, and divide by one number, so that C means the same for raw features and for S."""
    mean = train.mean(axis=0)
    scale = (train - mean).std()
    return (train - mean) / scale, (test - mean) / scale


def _linear(x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """The calls of a logistic regression at every C of the curve."""
    model = LogisticRegression(class_weight="balanced", max_iter=500, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it is hardly regularised it has no optimum
        return [model.set_params(C=c).fit(x, y).predict(test) for c in CURVE]


def _non_linear(
    x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32], seed: int
) -> NDArray[np.int64]:
    """The calls of a perceptron with one hidden layer of 256."""
    model = MLPClassifier((256,), alpha=1e-3, max_iter=50, early_stopping=len(y) >= 1000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        called: NDArray[np.int64] = model.fit(x, y, sample_weight=compute_sample_weight("balanced", y)).predict(test)
    return called


def _table(dataset: Dataset, valid: NDArray[np.bool_], rows: Sequence[Row]) -> Table:
    def guessing(split: str, key: str) -> float | None:
        if key == "s_full":
            return None
        if key == "s_overall":
            return always_fake(dataset, valid, rows, split)
        return chance(dataset, valid, rows, split)

    columns = [
        Column(key=f"{split}_{key}", label=label, group=f"{title}: {kind}", chance=guessing(split, key), better="none")
        for split, title in base.SPLIT_TITLES.items()
        for kind, measures in _MEASURES.items()
        for key, label in measures.items()
    ]
    return Table(
        key="disentangle",
        title="What S hides and T brings out",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="S: accuracies of a linear probe on S's outputs; the less, the better hidden. Calling all fake scores the "
        "share of fakes. T: how often the parent is the nearest or farthest of its cluster in T's outputs.",
    )


def _probes(hidden: Sequence[_Hidden]) -> list[Table]:
    """Table 4's companion: linear probes, hardly and strongly regularised, beside a non-linear one."""
    if not hidden:
        return []
    at = {"C = 0.01": 0.01, "C = 1": 1.0, "C = 1e6": 1e6}
    columns = [
        Column(key=f"{space}/{key}", label=key, group=space, chance=0.5, better="none")
        for space in ("raw features", "S")
        for key in (*at, "non-linear")
    ]
    rows = []
    for one in hidden:
        cells = {
            f"{space}/{key}": curve[CURVE.index(c)] for space, curve in one.curves.items() for key, c in at.items()
        }
        cells |= {f"{space}/non-linear": cell for space, cell in one.deep.items()}
        rows.append(Row(labels=one.labels, cells=cells))
    return [
        Table(
            key="hidden",
            title="Hidden, or only rescaled? Balanced accuracy of probes on the test split",
            labels=("Generator", "Backbone"),
            columns=tuple(columns),
            rows=tuple(rows),
            note="What S hides stays at chance whatever the probe; what it only rescales comes back as C grows. "
            "Non-linear: a perceptron with one hidden layer of 256.",
        )
    ]


def _curves(hidden: Sequence[_Hidden]) -> list[Plot]:
    return [
        Plot(
            title="Balanced accuracy over C",
            of=_label(one.labels),
            x_label="C: the larger, the less regularised",
            y_label="balanced accuracy on the test split",
            x_log=True,
            share=True,
            chance=0.5,
            curves=tuple(
                Curve(
                    name=name,
                    x=CURVE,
                    y=tuple(cell.value for cell in cells),
                    low=tuple(cell.low for cell in cells),
                    high=tuple(cell.high for cell in cells),
                )
                for name, cells in one.curves.items()
            ),
        )
        for one in hidden
    ]


def _trained(heads: Sequence[_Heads]) -> list[Plot]:
    """Losses by epoch, and singular values, of S and T."""
    plots = []
    for labels, s, t in heads:
        both = {"S": s, "T": t}
        values = {name: np.linalg.svd(head.weight, compute_uv=False) for name, head in both.items()}
        plots.append(
            Plot(
                title="Singular values",
                of=_label(labels),
                x_label="rank",
                y_label="relative to the largest",
                y_log=True,
                curves=tuple(
                    Curve(name=name, x=tuple(range(1, len(some) + 1)), y=tuple((some / some[0]).tolist()))
                    for name, some in values.items()
                ),
                note="Directions that S only shrinks, without zeroing them, a probe can stretch again.",
            )
        )
        plots.append(
            Plot(
                title="Training loss",
                of=_label(labels),
                x_label="epoch",
                y_label="loss",
                curves=tuple(
                    Curve(name=name, x=tuple(range(1, len(head.losses) + 1)), y=head.losses)
                    for name, head in both.items()
                ),
            )
        )
    return plots


def _label(labels: dict[str, str]) -> str:
    return f"{labels['Generator']}, {labels['Backbone']}"


def _summary(rows: Sequence[Row]) -> str:
    tested = [row for row in rows if "test_s_overall" in row.cells and "test_t_max" in row.cells]
    if not tested:
        return "S and T were trained, but the test split lacks clusters to judge them on."
    row = tested[0]
    hidden, shown = row.cells["test_s_overall"], row.cells["test_t_max"]
    return (
        f"On {row.labels['Backbone']} features ({format_label(row.labels['Generator'])}), a linear probe on S calls "
        f"{format_percent(hidden.value)} of {format_count(hidden.images, 'test image', 'test images')} rightly "
        f"({format_interval(hidden)}), and in T the parent is the farthest of its cluster in "
        f"{format_percent(shown.value)} of {format_count(shown.clusters, 'cluster', 'clusters')} "
        f"({format_interval(shown)})."
    )
