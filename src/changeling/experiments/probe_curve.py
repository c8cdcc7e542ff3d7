"""Probes of increasing strength on raw features and on S, which show what S removes and what it only rescales."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from changeling.experiments.base import Context
from changeling.experiments.linear_probe import ProbeSettings, select_training_rows
from changeling.experiments.reporting import make_estimate
from changeling.experiments.selection import renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.result import Column, Curve, Estimate, Plot, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import mean_interval

C_GRID = tuple(10.0**power for power in range(-4, 7, 2))
MAX_IMAGES = 20_000  # to train each probe on
_TABLE_C = {"C = 0.01": 0.01, "C = 1": 1.0, "C = 1e6": 1e6}


@dataclass(frozen=True, slots=True)
class ProbeCurve:
    """Balanced accuracies of probes in each space, for one generator and backbone.

    Attributes:
        linear: by space, of a linear probe at each C of `C_GRID`.
        non_linear: by space, of a perceptron with one hidden layer.
    """

    labels: dict[str, str]
    linear: dict[str, list[Estimate]] = field(default_factory=dict)
    non_linear: dict[str, Estimate] = field(default_factory=dict)


def evaluate_probe_curve(context: Context, spaces: dict[str, Features], labels: dict[str, str]) -> ProbeCurve:
    """Train the probes in each space, and evaluate them on the test split.

    Args:
        spaces: features of the same images, by name.
        labels: of the rows and plots; "Generator" selects the images.
    """
    dataset, generator, valid = context.dataset, labels["Generator"], next(iter(spaces.values())).valid
    train = select_training_rows(dataset, valid, ProbeSettings(train_on=generator), context.seed)
    train = np.sort(np.random.default_rng(context.seed).permutation(train)[:MAX_IMAGES])
    test = select_rows(dataset, valid, generator, "test")
    clusters = renumber_clusters(dataset.clusters[test])
    y_train, y_test = dataset.labels[train], dataset.labels[test]

    def evaluate(predicted: NDArray[np.int64]) -> Estimate:
        recalls = [metrics.recall(y_test, predicted, clusters, label) for label in (0, 1)]
        return make_estimate(mean_interval(*recalls))

    curve = ProbeCurve(labels)
    for name, features in spaces.items():
        x_train, x_test = _standardise(features.values[train], features.values[test])
        curve.linear[name] = [evaluate(predicted) for predicted in _predict_linear(x_train, y_train, x_test)]
        curve.non_linear[name] = evaluate(_predict_non_linear(x_train, y_train, x_test, context.seed))
    return curve


def estimate_curve_seconds(images: int, dim: int, speed: float) -> float:
    """Return how long a curve takes, fitted to the measurements of benchmarks/study.py."""
    # even with few images the solvers take seconds, in thousands of small steps
    return 8 + 840_000 * min(images, MAX_IMAGES) * dim / speed


def build_curve_table(curves: Sequence[ProbeCurve]) -> list[Table]:
    """Return the table of linear probes with strong and weak regularisation beside a non-linear one."""
    if not curves:
        return []
    columns = [
        Column(key=f"{space}/{key}", label=key, group=space, chance=0.5, better="none")
        for space in ("raw features", "S")
        for key in (*_TABLE_C, "non-linear")
    ]
    rows = []
    for curve in curves:
        cells = {
            f"{space}/{key}": estimates[C_GRID.index(c)]
            for space, estimates in curve.linear.items()
            for key, c in _TABLE_C.items()
        }
        cells |= {f"{space}/non-linear": estimate for space, estimate in curve.non_linear.items()}
        rows.append(Row(labels=curve.labels, cells=cells))
    return [
        Table(
            key="hidden",
            title="Removed, or only rescaled? Balanced accuracy of probes on the test split",
            labels=("Generator", "Backbone"),
            columns=tuple(columns),
            rows=tuple(rows),
            note="If S removes what tells real from fake, every probe stays at chance; if S only rescales it, accuracy "
            "rises with C. Non-linear: a perceptron with one hidden layer of 256 units.",
        )
    ]


def plot_curves(curves: Sequence[ProbeCurve]) -> list[Plot]:
    """Return a plot of the linear probes over C for each curve."""
    return [
        Plot(
            title="Balanced accuracy over C",
            of=format_labels(curve.labels),
            x_label="C (inverse regularisation strength)",
            y_label="balanced accuracy on the test split",
            x_log=True,
            share=True,
            chance=0.5,
            curves=tuple(
                Curve(
                    name=name,
                    x=C_GRID,
                    y=tuple(estimate.value for estimate in estimates),
                    low=tuple(estimate.low for estimate in estimates),
                    high=tuple(estimate.high for estimate in estimates),
                )
                for name, estimates in curve.linear.items()
            ),
        )
        for curve in curves
    ]


def format_labels(labels: dict[str, str]) -> str:
    """Return the generator and backbone of a row in one string."""
    return f"{labels['Generator']}, {labels['Backbone']}"


def _standardise(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre, and divide by a single number, so that C has the same meaning for raw features and for S."""
    mean = train.mean(axis=0)
    scale = (train - mean).std()
    return (train - mean) / scale, (test - mean) / scale


def _predict_linear(x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Return the test predictions of a logistic regression at every C of the grid."""
    model = LogisticRegression(class_weight="balanced", max_iter=500, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with little regularisation it has no optimum
        return [model.set_params(C=c).fit(x, y).predict(test) for c in C_GRID]


def _predict_non_linear(
    x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32], seed: int
) -> NDArray[np.int64]:
    """Return the test predictions of a perceptron with one hidden layer of 256 units."""
    model = MLPClassifier((256,), alpha=1e-3, max_iter=50, early_stopping=len(y) >= 1000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted: NDArray[np.int64] = model.fit(x, y, sample_weight=compute_sample_weight("balanced", y)).predict(test)
    return predicted
