"""Features by a quantized graph, confirmed by a compact one where they decide between two labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import Backbone
from changeling.detect.model import TrainedModel

MARGIN = 0.3  # of log-odds; benchmarks/compact.py measures how many labels differ with it


class ConfirmedBackbone:
    """A quantized backbone that encodes an image again by a compact one if its score is near a threshold.

    The features of an image do not depend on the others of its batch.
    """

    def __init__(self, quantized: Backbone, compact: Backbone, trained: TrainedModel) -> None:
        self.name, self.weights = quantized.name, quantized.weights
        self.preprocessing, self.dim = quantized.preprocessing, quantized.dim
        self._quantized, self._compact, self._trained = quantized, compact, trained

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        features = self._quantized.encode(pixels)
        is_near = self._trained.are_near_thresholds(features, MARGIN)
        if is_near.any():
            features[is_near] = self._compact.encode(pixels[is_near])
        return features
