"""A model that scores preprocessed images in batches, whatever library runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from changeling import engine
from changeling.evaluation.base import EvaluatedImage, Score
from changeling.images.decode import ImageFile

Pixels = NDArray[np.float32]
ScoreArray = NDArray[np.floating[Any]]
BATCH = 8  # images that a model scores at once


@dataclass(frozen=True, slots=True)
class ModelDetector:
    """A model with its preprocessing.

    Attributes:
        load: image file -> pixels (3, H, W). Raises ImageError.
        predict: pixels (B, 3, H, W) -> scores (B,).
        are_probabilities: whether these are probabilities; None if that is not known.
    """

    identity: str
    load: Callable[[ImageFile], Pixels]
    predict: Callable[[Pixels], ScoreArray]
    are_probabilities: bool | None = True
    reads_files: bool = True

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image; an error for those that cannot be decoded."""
        files = [image.file for image in images]
        encoded = engine.encode(files, self.load, self, batch_size=BATCH)
        return [
            Score(None, error=each.error)
            if each.feature is None
            else Score(float(each.feature), is_probability=self.are_probabilities)
            for each in encoded
        ]

    def encode(self, pixels: Pixels) -> NDArray[Any]:
        """Return the scores (B,) of preprocessed images (B, 3, H, W), as the engine calls it."""
        return self.predict(pixels)


def convert_logits(logits: ScoreArray, fakes: tuple[int, ...]) -> ScoreArray:
    """Return the probabilities (B,) of the classes `fakes` together, from logits (B, K); a single one is of fake."""
    values = np.asarray(logits, np.float64)
    if values.shape[1] == 1:
        return np.asarray(expit(values[:, 0]))
    return sum_probabilities(np.asarray(softmax(values, axis=1)), fakes)


def sum_probabilities(probabilities: ScoreArray, fakes: tuple[int, ...]) -> ScoreArray:
    """Return the sum (B,) of the columns `fakes` of probabilities (B, K), which rounding takes to 1 at most."""
    return np.asarray(np.minimum(probabilities[:, fakes].sum(axis=1), 1))
