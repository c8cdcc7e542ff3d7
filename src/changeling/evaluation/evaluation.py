"""`Evaluation`: the scores of several detectors on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.evaluation.conditions import Condition
from changeling.evaluation.measures import ScoredImages
from changeling.evaluation.predictions import are_probabilities, predict
from changeling.evaluation.scoring import Scores
from changeling.experiments.selection import renumber_clusters
from changeling.stats.metrics import Ints

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector gave.

    Attributes:
        name: of the detector.
        scores: by the names of conditions; a condition that it cannot score is absent.
        failure: why the detector was stopped, in one line; None if it finished.
        threshold: that turns scores into labels; None leaves that to the detector (see `predict`).
        has_predictions: False if the threshold of the evaluation is not one of these scores.
        identity: hash of all that the scores depend on, except the images.
    """

    name: str
    scores: Mapping[str, Scores] = field(default_factory=dict)
    failure: str | None = None
    threshold: float | None = None
    has_predictions: bool = True
    identity: str = ""

    @property
    def are_probabilities(self) -> bool:
        """Whether all its scores are taken for probabilities."""
        return are_probabilities(self.scores.values())


@dataclass(frozen=True)
class Evaluation:
    """The scores of detectors on the same rows of a dataset.

    Attributes:
        rows: of the dataset, int64 (N,).
        conditions: in which the images were scored.
    """

    dataset: Dataset
    rows: Ints
    conditions: Sequence[Condition]
    detectors: Sequence[DetectorScores]

    @cached_property
    def labels(self) -> Ints:
        """0 for real, 1 for fake, int64 (N,)."""
        return self.dataset.labels[self.rows]

    @cached_property
    def clusters(self) -> Ints:
        """The cluster of each image, int64 (N,)."""
        return renumber_clusters(self.dataset.clusters[self.rows])

    def column(self, name: str) -> NDArray[np.object_]:
        """A column of images.parquet at the rows (N,)."""
        column: NDArray[np.object_] = self.dataset.column(name)[self.rows]
        return column

    @property
    def finished(self) -> list[DetectorScores]:
        """The detectors that did not fail."""
        return [detector for detector in self.detectors if detector.failure is None]

    def get_images(self, detector: DetectorScores, condition: str, mask: Mask | None = None) -> ScoredImages | None:
        """Return the images with a score, of those in the mask (N,); None if the detector has no such condition."""
        if condition not in detector.scores:
            return None
        scores = detector.scores[condition]
        selected = ~np.isnan(scores.values) & (True if mask is None else mask)
        predictions = None
        if detector.has_predictions:
            predictions = predict(scores, detector.are_probabilities, detector.threshold)
        return ScoredImages(
            labels=self.labels[selected],
            clusters=self.clusters[selected],
            scores=scores.values[selected],
            predictions=None if predictions is None else predictions[selected],
            are_probabilities=detector.are_probabilities,
        )

    def get_common_images(
        self, first: DetectorScores, second: DetectorScores, condition: str
    ) -> tuple[ScoredImages, ScoredImages] | None:
        """Return the images that both detectors scored; None if one of them has no such condition."""
        if condition not in first.scores or condition not in second.scores:
            return None
        mask = ~np.isnan(first.scores[condition].values) & ~np.isnan(second.scores[condition].values)
        pair = self.get_images(first, condition, mask), self.get_images(second, condition, mask)
        return (pair[0], pair[1]) if pair[0] and pair[1] else None
