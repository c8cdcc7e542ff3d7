"""The threshold of a detector from the real images of another split, at a false positive rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import EvaluationError
from changeling.stats.metrics import Floats, Ints


@dataclass(frozen=True, slots=True)
class ValidationThreshold:
    """The rule: at most this share of the real images of a split have a score above the threshold."""

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


def choose_threshold(real_scores: Floats, false_positive_rate: float) -> float:
    """Return the lowest of the scores that at most this share of the real images exceed.

    A score above the threshold means fake. NaN, of images without a score, is left out.

    Args:
        real_scores: float64 (N,), at least one of which is finite.
        false_positive_rate: in (0, 1).
    """
    scores = np.sort(real_scores[~np.isnan(real_scores)])
    exceeding = math.floor(false_positive_rate * len(scores) + 1e-9)
    return float(scores[len(scores) - 1 - exceeding])
