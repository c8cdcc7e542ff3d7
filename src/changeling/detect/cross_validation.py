"""Score each image with a head that was trained without its source, its cluster and its generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from changeling.detect.fitting import fit_logistic_regression
from changeling.detect.training_set import ImageRows, TrainingFeatures
from changeling.errors import DatasetError
from changeling.progress import Progress
from changeling.stats import metrics
from changeling.stats.metrics import Floats, Ints

FOLDS = 10
UNKNOWN = "unknown"  # the generator of fakes whose generator is not known
C_VALUES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

Fold = tuple[Ints, Ints]  # indices of the images to train on, and of those to test on


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Scores (N,) of images and of their copies by heads that were not trained on them; NaN where untested."""

    images: Floats
    copies: Floats


def can_hold_out_sources(rows: ImageRows) -> bool:
    """Whether there are enough sources to leave out whole sources, and with them whole generators."""
    return len(set(rows.sources)) >= FOLDS


def split_folds(rows: ImageRows, seed: int) -> Iterator[Fold]:
    """Yield the folds: each image is tested once, except in folds that leave too few images to train on.

    With FOLDS sources or more, a source is in one fold, and training leaves out the clusters and the generators of
    the test images. With fewer sources, only clusters are kept together.
    """
    whole_sources = can_hold_out_sources(rows)
    fold_of_image = _assign_folds(rows.sources if whole_sources else rows.clusters, rows.labels, seed)
    for fold in range(FOLDS):
        is_test = fold_of_image == fold
        tested_generators = set(rows.generators[is_test]) - {None, UNKNOWN} if whole_sources else set()
        has_tested_generator = np.array([name in tested_generators for name in rows.generators])
        is_train = ~is_test & ~np.isin(rows.clusters, rows.clusters[is_test]) & ~has_tested_generator
        if len(set(rows.labels[is_train])) == 2 and is_test.any():
            yield np.flatnonzero(is_train), np.flatnonzero(is_test)


def check_folds(rows: ImageRows, folds: Sequence[Fold]) -> None:
    """Raise DatasetError unless both a real and a fake image are tested."""
    tested_labels = {int(label) for _, test in folds for label in rows.labels[test]}
    if len(tested_labels) < 2:
        raise DatasetError(
            f"no {'real' if 1 in tested_labels else 'fake'} image can be held out: without its source and generator, "
            "nothing is left to train on; add images of more sources or generators"
        )


def choose_c(
    features: TrainingFeatures, rows: ImageRows, weights: Floats, seed: int, progress: Progress
) -> tuple[float, HeldOutScores]:
    """Return the C of C_VALUES with the highest weighted AUROC on held-out images, and its scores.

    Raises:
        DatasetError: no real or no fake image can be held out.
    """
    folds = list(split_folds(rows, seed))
    check_folds(rows, folds)
    scores = {}
    for done, c in enumerate(C_VALUES, start=1):
        scores[c] = compute_held_out_scores(features, rows, weights, folds, c)
        progress("cross-validating", done, len(C_VALUES))
    c = max(C_VALUES, key=lambda c: _compute_weighted_auroc(rows, scores[c], weights))
    return c, scores[c]


def compute_held_out_scores(
    features: TrainingFeatures, rows: ImageRows, weights: Floats, folds: Sequence[Fold], c: float
) -> HeldOutScores:
    """Fit a head in each fold and score its test images and their copies."""
    scores = HeldOutScores(np.full(len(rows.labels), np.nan), np.full(len(rows.labels), np.nan))
    for train, test in folds:
        weight, bias = fit_logistic_regression(
            features.images[train], features.copies[train], rows.select(train), weights[train], c
        )
        scores.images[test] = features.images[test] @ weight + bias
        scores.copies[test] = features.copies[test] @ weight + bias
    return scores


def _compute_weighted_auroc(rows: ImageRows, scores: HeldOutScores, weights: Floats) -> float:
    """Return the AUROC on images plus that on copies, each image weighted as in training."""
    total = 0.0
    for some_scores in (scores.images, scores.copies):
        is_tested = np.isfinite(some_scores)
        labels, tested_weights = rows.labels[is_tested], weights[is_tested][None]
        total += float(metrics.weighted_auroc(labels, some_scores[is_tested], tested_weights)[0])
    return total


def _assign_folds(keys: NDArray[np.object_] | Ints, labels: Ints, seed: int) -> Ints:
    """Return a fold for each image (N,); images with one key share a fold.

    Keys are assigned from the largest on, each to the fold that stays closest to the average in both classes.
    """
    names, index = np.unique(keys.astype(str), return_inverse=True)
    sizes = np.stack([np.bincount(index, labels == label, len(names)) for label in (0, 1)], axis=1)
    shares = sizes / sizes.sum(axis=0) * FOLDS
    jitter = np.random.default_rng(seed).uniform(0.6, 1.4, len(names))
    loads, fold_of_key = np.zeros((FOLDS, 2)), np.zeros(len(names), np.int64)
    for key in np.argsort(-shares.sum(axis=1) * jitter, kind="stable"):
        cost = ((loads + shares[key]) ** 2 - loads**2).sum(axis=1)
        fold_of_key[key] = int(np.argmin(cost))
        loads[fold_of_key[key]] += shares[key]
    return fold_of_key[index]
