"""The threshold of a detector from the real images of another split, at a false positive rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import EvaluationError
from changeling.stats.metrics import Floats, Ints, threshold_at


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

    def choose(self, real_scores: Floats) -> float:
        """Return the lowest of the scores (N,) of these images that few enough of them exceed; NaN is left out."""
        return threshold_at(real_scores[~np.isnan(real_scores)], self.false_positive_rate)
