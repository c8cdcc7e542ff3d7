"""From scores to predictions: which scores are probabilities, and which thresholds they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import EvaluationError
from changeling.evaluation.measures import UNSURE
from changeling.evaluation.scoring import Scores
from changeling.stats.metrics import Floats, Ints, threshold_at

PROBABILITY_THRESHOLD = 0.5
_PREDICTIONS = {"real": 0, "fake": 1, "unsure": UNSURE}


def are_probabilities(scores: Iterable[Scores]) -> bool:
    """Return whether a detector's scores are probabilities: what it says, or else whether all lie in [0, 1]."""
    conditions = list(scores)
    declared = {each.are_probabilities for each in conditions} - {None}
    return declared == {True} if declared else are_in_unit_interval(conditions)


def are_in_unit_interval(scores: Iterable[Scores]) -> bool:
    """Return whether all scores lie in [0, 1]."""
    return all(bool((((each.values >= 0) & (each.values <= 1)) | np.isnan(each.values)).all()) for each in scores)


def is_threshold_of(threshold: float | None, scores: Mapping[str, Scores]) -> bool:
    """Return whether a threshold fits the scores: one between 0 and 1 fits only scores that all lie there."""
    return threshold is None or not 0 < threshold < 1 or are_in_unit_interval(scores.values())


def has_own_labels(scores: Scores) -> bool:
    """Return whether the detector gave a label for each image that it scored."""
    labels = scores.labels[~np.isnan(scores.values)]
    return len(labels) > 0 and all(label is not None for label in labels)


def predict(scores: Scores, is_probability: bool, threshold: float | None = None) -> Ints | None:
    """Return the predictions (N,): 0 real, 1 fake, UNSURE; None if there is nothing to decide by.

    Args:
        scores: of N images.
        is_probability: whether they are probabilities.
        threshold: a score above it means fake, whatever label the detector gives. By default its own labels count, if
            it gives them, and otherwise probabilities have the threshold 0.5.
    """
    if threshold is None:
        if has_own_labels(scores):
            return np.array([_PREDICTIONS.get(label, UNSURE) for label in scores.labels], np.int64)
        if not is_probability:
            return None
        threshold = PROBABILITY_THRESHOLD
    return (scores.values > threshold).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ValidationThreshold:
    """A rule for thresholds: at most this share of the real images of a split have a score above the threshold."""

    false_positive_rate: float
    split: Split

    def select_rows(self, dataset: Dataset) -> Ints:
        """Return the readable real images of the split. Raises EvaluationError if there are none."""
        in_split = (dataset.column("split") == self.split) & (dataset.column("status") == "ok")
        rows = np.flatnonzero(in_split & (dataset.labels == 0))
        if not len(rows):
            raise EvaluationError(
                f"{dataset.path}: the split {self.split} has no real images, from which the protocol takes thresholds"
            )
        return rows

    def choose(self, real_scores: Floats) -> float:
        """Return the lowest of the scores (N,) of these images that few enough of them exceed; NaN is left out."""
        return threshold_at(real_scores[~np.isnan(real_scores)], self.false_positive_rate)
