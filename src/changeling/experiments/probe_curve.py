"""Probes of increasing strength on raw features and on S, which show what S removes and what it only rescales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from changeling.experiments.base import Context
from changeling.experiments.linear_probe import ProbeSettings, select_training_rows
from changeling.experiments.logistic_regression import fit_logistic_regressions, fit_model
from changeling.experiments.reporting import make_curve, make_estimate
from changeling.experiments.selection import renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.result import Column, Estimate, Plot, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import mean_interval

C_GRID = tuple(10.0**power for power in range(-4, 7, 2))
MAX_IMAGES = 20_000  # to train each probe on
MAX_EPOCHS = 1000  # of the non-linear probe
EARLY_STOPPING_IMAGES = 1000
_TABLE_C = {"C = 0.01": 0.01, "C = 1": 1.0, "C = 1e6": 1e6}


@dataclass(frozen=True, slots=True)
class ProbeCurve:
    """Balanced accuracies of probes in each space, for one generator and backbone.

    Attributes:
        linear: by space, of a linear probe at each C of `C_GRID`.
        non_linear: by space, of a perceptron with one hidden layer.
        unconverged: the probes whose training did not converge, in words.
    """

    labels: dict[str, str]
    linear: dict[str, list[Estimate]] = field(default_factory=dict)
    non_linear: dict[str, Estimate] = field(default_factory=dict)
    unconverged: list[str] = field(default_factory=list)


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
        fits = fit_logistic_regressions(x_train, y_train, C_GRID)
        curve.linear[name] = [evaluate((fit.predict_scores(x_test) > 0).astype(np.int64)) for fit in fits.values()]
        curve.unconverged.extend(f"{name} at C = {c:g}" for c, fit in fits.items() if not fit.is_converged)
        predicted, is_converged = _predict_non_linear(x_train, y_train, x_test, context.seed)
        curve.non_linear[name] = evaluate(predicted)
        curve.unconverged.extend([] if is_converged else [f"non-linear on {name}"])
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
            "rises with C. Non-linear: a perceptron with one hidden layer of 256 units; gradient descent hardly sees "
            "directions that S shrinks a thousandfold." + _note_unconverged(curves),
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
            curves=tuple(make_curve(name, C_GRID, estimates) for name, estimates in curve.linear.items()),
            note=_note_unconverged([curve]).strip(),
        )
        for curve in curves
    ]


def _note_unconverged(curves: Sequence[ProbeCurve]) -> str:
    """Return a sentence that lists the probes whose training did not converge; empty if all did."""
    listed = [f"{name} ({format_labels(curve.labels)})" for curve in curves for name in curve.unconverged]
    return f" Not converged, and not to be interpreted: {', '.join(listed)}." if listed else ""


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


def _predict_non_linear(
    x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.int64], bool]:
    """Return the test predictions of a perceptron with one hidden layer of 256 units, and whether it has converged.

    With 1,000 images or more a tenth of them is held out, and training stops when their accuracy no longer improves.
    """
    model = MLPClassifier(
        (256,), alpha=1e-3, max_iter=MAX_EPOCHS, early_stopping=len(y) >= EARLY_STOPPING_IMAGES, random_state=seed
    )
    is_converged = fit_model(model, x, y, sample_weight=compute_sample_weight("balanced", y))
    predicted: NDArray[np.int64] = model.predict(test)
    return predicted, is_converged
