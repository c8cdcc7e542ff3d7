"""`head:FILE`: a linear head on the features of a backbone.

The file is safetensors, with `weight` (D,) or (1, D), `bias` (one number), and the name of the backbone in its
metadata, under `backbone`. The score is the probability 1 / (1 + exp(-(weight * feature + bias))).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from scipy.special import expit

from changeling.backbones.registry import Backbone, load_backbone
from changeling.detect.model import Head
from changeling.errors import DetectorError, one_line
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.models.model_detector import ModelDetector, Pixels, ScoreArray
from changeling.images.decode import ImageFile


def load_head(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Load a head and its backbone. Raises DetectorError, BackboneError, WeightsError."""
    path = Path(argument)
    head, name = _read_head(path)
    backbone = load_backbone(name, settings.progress)

    def load(file: ImageFile) -> Pixels:
        return backbone.preprocessing(backbone.preprocessing.decode(file).image)

    identity = hash_identity("head", head.hash, backbone.name, backbone.weights, backbone.preprocessing.hash)
    return ModelDetector(identity, load, make_predictor(head, backbone, str(path)))


def make_predictor(head: Head, backbone: Backbone, name: str) -> Callable[[Pixels], ScoreArray]:
    """Return a function from pixels to probabilities. Raises DetectorError if the head does not fit the backbone."""
    if len(head.weight) != backbone.dim:
        raise DetectorError(
            f"{name}: the head takes {len(head.weight)} numbers, but {backbone.name} gives {backbone.dim}"
        )

    def predict(pixels: Pixels) -> ScoreArray:
        probabilities: ScoreArray = expit(head.compute_scores(backbone.encode(pixels)))
        return probabilities

    return predict


def _read_head(path: Path) -> tuple[Head, str]:
    """Return the head in a file, and the name of its backbone. Raises DetectorError."""
    try:
        with safe_open(path, "numpy") as file:
            backbone = (file.metadata() or {})["backbone"]
            weight, bias = (np.asarray(file.get_tensor(key), np.float32).reshape(-1) for key in ("weight", "bias"))
        return Head(weight, float(bias.item())), backbone
    except (SafetensorError, OSError) as error:
        raise DetectorError(f"head:{path} cannot be read: {one_line(error)}") from None
    except (KeyError, ValueError):
        raise DetectorError(
            f"head:{path}: it needs `weight` (D,), `bias` (one number), and `backbone` in its metadata"
        ) from None
