"""The linear probe: L2-regularised logistic regression on frozen features, which labels an image real or fake."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError, StudyError
from changeling.experiments.base import Settings
from changeling.experiments.logistic_regression import MAX_NEWTON_SIZE, LogisticFit, fit_logistic_regressions
from changeling.experiments.selection import draw_one_per_cluster, has_both_classes
from changeling.features.store import Features
from changeling.results.format import ALL_LABEL

COARSE_GRID = tuple(10.0**power for power in range(-6, 3))  # of C
LISTED_GENERATORS = 8  # in an error message


def _check_strength(value: object) -> object:
    """Raise ValueError if a C is neither a positive number nor "tuned"; the error of a union would name both types."""
    if value != "tuned" and not (isinstance(value, int | float) and 0 < value < math.inf):
        raise ValueError('should be a number greater than 0, or "tuned"')
    return value


Strength = Annotated[float | Literal["tuned"], BeforeValidator(_check_strength)]


class ProbeSettings(Settings):
    """Settings of the probe, and of Table 2."""

    children: Literal["one", "all"] = Field(
        default="one",
        description='"one" random child per cluster for training, or "all"; class weights are balanced either way',
    )
    train_on: str = Field(
        default=ALL_LABEL, description='train on the children of this generator, or of "all" generators'
    )
    C: Strength = Field(
        default="tuned",
        description='inverse regularisation strength, such as 1.0; "tuned": chosen on the validation split',
    )
    standardise: bool = Field(
        default=True, description="divide each dimension by its standard deviation on the training images"
    )


_DEFAULT = ProbeSettings()


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A fitted linear probe. Features are standardised by `mean` and `scale` (D,) first."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float
    c: float
    training_images: int
    is_converged: bool

    def predict_scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of being fake (N,) of features (N, D). Equal features have equal scores."""
        # not `@`, which rounds equal rows unequally, so that AUROC does not see their ties
        scores: NDArray[np.float64] = np.vecdot((features - self.mean) / self.scale, self.weight) + self.bias
        return scores


def fit_probe(
    dataset: Dataset, features: Features, settings: ProbeSettings = _DEFAULT, *, seed: int = 0
) -> LinearProbe:
    """Fit the probe on the train split.

    If C is "tuned", it is chosen on the real images of the validation split and its children by the generator to train
    on.

    Raises:
        DatasetError: the train split lacks real or fake images; or the validation split, and C is tuned.
    """
    train, val = select_fitting_rows(dataset, features.valid, settings, seed)
    c = None if settings.C == "tuned" else settings.C
    return fit_probe_on_rows(features.values, dataset.labels, train, val, c=c, standardise=settings.standardise)


def fit_probe_on_rows(
    values: NDArray[np.float32],
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    *,
    c: float | None = None,
    standardise: bool = True,
) -> LinearProbe:
    """Fit the probe on some rows of features (N, D) and labels (N,).

    Args:
        train: the rows that it is fitted on.
        val: the rows that C is chosen on: it is the one with the lowest loss, of powers of ten, and then of quarter
            powers around the best. They are not read if C is given.
        c: C, if it is given.
        standardise: scale each dimension to mean 0 and standard deviation 1 on the training rows.
    """
    x_train = values[train]
    mean = x_train.mean(axis=0)
    scale = x_train.std(axis=0) + np.float32(1e-6) if standardise else np.ones_like(mean)
    x_train, y_train = (x_train - mean) / scale, labels[train]
    if c is None:
        c, fit = _tune(x_train, y_train, (values[val] - mean) / scale, labels[val])
    else:
        fit = fit_logistic_regressions(x_train, y_train, [c])[c]
    return LinearProbe(
        mean.astype(np.float64), scale.astype(np.float64), fit.weight, fit.bias, c, len(train), fit.is_converged
    )


def _tune(
    x_train: NDArray[np.float32], y_train: NDArray[np.int64], x_val: NDArray[np.float32], y_val: NDArray[np.int64]
) -> tuple[float, LogisticFit]:
    """Return the C with the lowest loss on the validation images, the smallest of equals, and its fit."""
    fits: dict[float, LogisticFit] = {}

    def search(grid: Sequence[float]) -> float:
        fits.update(fit_logistic_regressions(x_train, y_train, grid))
        losses = {c: _balanced_log_loss(y_val, fit.predict_scores(x_val)) for c, fit in fits.items()}
        return min(losses, key=lambda c: (losses[c], c))

    best = search(COARSE_GRID)
    best = search([best * 10 ** (step / 4) for step in (-3, -2, -1, 1, 2, 3)])
    return best, fits[best]


def check_probe(dataset: Dataset, valid: NDArray[np.bool_], settings: ProbeSettings, seed: int) -> None:
    """Raise DatasetError if the train split lacks real or fake images; or the validation split, and C is tuned."""
    select_fitting_rows(dataset, valid, settings, seed)


def estimate_fit_seconds(dataset: Dataset, dim: int, speed: float) -> float:
    """Return how many seconds one probe takes to fit, its search for C included."""
    train = int((dataset.column("split") == "train").sum())
    images = min(train, 2 * len(np.unique(dataset.clusters)))
    rank = min(images, dim)
    operations = 150 * rank if images * rank**2 <= MAX_NEWTON_SIZE else 36_000  # for each image and dimension
    return images * dim * operations / speed


def check_train_on(dataset: Dataset, experiment: str, train_on: str, words: Sequence[str] = (ALL_LABEL,)) -> None:
    """Raise StudyError if an experiment's setting `train_on` is neither one of some words nor a generator."""
    known = [*words, *sorted(set(dataset.column("generator")) - {None})]
    if train_on not in known:
        similar = difflib.get_close_matches(train_on, known, 1)
        others = len(known) - LISTED_GENERATORS
        listed = ", ".join(known[:LISTED_GENERATORS]) + (f" and {others} more" if others > 0 else "")
        hint = f"did you mean {similar[0]!r}?" if similar else f"choose one of {listed}"
        raise StudyError(f"{experiment}.train_on = {train_on!r}: the dataset has no children by it; {hint}")


def select_fitting_rows(
    dataset: Dataset, valid: NDArray[np.bool_], settings: ProbeSettings, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that the probe is fitted on, and those that C is chosen on.

    If C is given, there is nothing to choose, and both are the rows of the train split.

    Raises:
        DatasetError: as `check_probe`.
    """
    train = select_training_rows(dataset, valid, settings, seed)
    in_val = (dataset.column("split") == "val") & valid
    val = np.flatnonzero(in_val & ((dataset.labels == 0) | _is_training_child(dataset, settings)))
    needed = "real and fake images"
    if settings.train_on != ALL_LABEL:
        needed = f"real images and children by {settings.train_on!r}"
    if not has_both_classes(dataset.labels[train]):
        raise DatasetError(f"{dataset.path}: the train split needs {needed} to train a probe")
    if settings.C != "tuned":
        return train, train
    if not has_both_classes(dataset.labels[val]):
        raise DatasetError(
            f"{dataset.path}: the val split needs {needed} to train a probe; without them, give C in the study file"
        )
    return train, val


def _is_training_child(dataset: Dataset, settings: ProbeSettings) -> NDArray[np.bool_]:
    """Return a mask of the children of the generator to train on (N,), in every split."""
    is_by_generator = dataset.column("generator") == settings.train_on
    is_selected: NDArray[np.bool_] = (dataset.labels == 1) & (is_by_generator | (settings.train_on == ALL_LABEL))
    return is_selected


def select_training_rows(
    dataset: Dataset, valid: NDArray[np.bool_], settings: ProbeSettings = _DEFAULT, seed: int = 0
) -> NDArray[np.int64]:
    """Return the parents of the train split and one random child per cluster, or all children (section 4.1).

    Raises:
        DatasetError: the generator to train on has no children in the train split.
    """
    mask = (dataset.column("split") == "train") & valid
    parents = np.flatnonzero(mask & (dataset.labels == 0))
    children = np.flatnonzero(mask & _is_training_child(dataset, settings))
    if settings.train_on != ALL_LABEL and not len(children):
        raise DatasetError(
            f"{dataset.path}: the train split has no children by {settings.train_on!r}, which train_on names"
        )
    if settings.children == "one":
        children = draw_one_per_cluster(children, dataset.clusters, np.random.default_rng(seed))
    return np.sort(np.concatenate([parents, children]))


def _balanced_log_loss(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores))
    return float(loss[labels == 0].mean() + loss[labels == 1].mean()) / 2
