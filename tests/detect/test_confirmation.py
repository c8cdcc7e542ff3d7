"""Features by a quantized graph are confirmed near a threshold, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.confirmation import MARGIN, ConfirmedBackbone
from changeling.detect.model import TrainedModel
from tests import helpers


class ShiftedBackbone:
    """A backbone that moves the log-odds of each image by a number, and counts the images."""

    def __init__(self, backbone: OnnxBackbone, trained: TrainedModel, shift: float) -> None:
        self.name, self.weights, self.dim = backbone.name, f"{backbone.weights}-quantized", backbone.dim
        self.preprocessing = backbone.preprocessing
        direction = trained.head.weight / (trained.head.weight**2).sum()
        self._step = (direction * shift / trained.model.slope).astype(np.float32)
        self._backbone, self.images = backbone, 0

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.images += len(pixels)
        features: NDArray[np.float32] = self._backbone.encode(pixels) + self._step
        return features


def compute_logits(trained: TrainedModel, features: NDArray[np.float32]) -> NDArray[np.float64]:
    probabilities = trained.predict_probabilities(features)
    return np.log(probabilities / (1 - probabilities))


@pytest.mark.parametrize("shift", [MARGIN / 2, -MARGIN / 2])
def test_labels_are_those_of_the_compact_graph_if_it_differs_by_less_than_the_margin(
    tiny_backbone: OnnxBackbone, shift: float
) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    side = tiny_backbone.preprocessing.crop
    pixels = np.random.default_rng(0).normal(size=(200, 3, side, side)).astype(np.float32)
    exact = compute_logits(trained, tiny_backbone.encode(pixels))
    low, high = np.quantile(exact, [0.3, 0.6])  # thresholds among the images
    thresholds = {"real_below": float(1 / (1 + np.exp(-low))), "fake_above": float(1 / (1 + np.exp(-high)))}
    trained = TrainedModel(trained.model.model_copy(update=thresholds), trained.head)
    quantized = ShiftedBackbone(tiny_backbone, trained, shift)
    compact = ShiftedBackbone(tiny_backbone, trained, 0)
    backbone = ConfirmedBackbone(quantized, compact, trained)
    found = compute_logits(trained, backbone.encode(pixels))
    labels = [[trained.choose_label(1 / (1 + np.exp(-one))) for one in some] for some in (exact, found)]
    assert labels[0] == labels[1]
    is_near = np.minimum(abs(exact + shift - low), abs(exact + shift - high)) < MARGIN
    assert 0 < compact.images == is_near.sum() < len(pixels)
    np.testing.assert_allclose(found, exact + np.where(is_near, 0, shift), atol=1e-4)
    alone = np.concatenate([backbone.encode(image[None]) for image in pixels[:20]])
    np.testing.assert_allclose(compute_logits(trained, alone), found[:20], atol=1e-4)


def test_a_threshold_of_zero_or_one_is_far_from_every_image(tiny_backbone: OnnxBackbone) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    trained = TrainedModel(trained.model.model_copy(update={"real_below": 0.0, "fake_above": 1.0}), trained.head)
    assert not trained.are_near_thresholds(np.zeros((2, tiny_backbone.dim), np.float32), 100).any()
