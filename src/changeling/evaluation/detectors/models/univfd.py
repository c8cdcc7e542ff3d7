"""`univfd:FILE`: the linear probe of UniversalFakeDetect on CLIP ViT-L/14 (Ojha, Li and Lee, 2023, arXiv:2302.10174).

FILE is its `fc_weights.pth`, which is read without running code. As in the authors' evaluation, images are not resized:
their central 224 x 224 pixels are encoded, with black around smaller images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from changeling.backbones.registry import load_backbone
from changeling.detect.model import Head
from changeling.errors import DetectorError, one_line
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.models.linear_head import make_predictor
from changeling.evaluation.detectors.models.model_detector import ModelDetector, Pixels
from changeling.images.decode import ImageFile, decode_image
from changeling.images.transforms import CLIP, centre_crop

ENCODER = "open_clip:ViT-L-14-quickgelu/openai"
_VERSION = "1"  # of the preprocessing


def load_univfd(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Load the probe and CLIP. Raises DetectorError, BackboneError, WeightsError."""
    head = _read_head(Path(argument))
    backbone = load_backbone(ENCODER, settings.progress)
    identity = hash_identity("univfd", _VERSION, head.hash, backbone.weights)
    return ModelDetector(identity, load_crop, make_predictor(head, backbone, f"univfd:{argument}"))


def load_crop(file: ImageFile) -> Pixels:
    """Return the central square of an image, as CLIP takes it: float32 (3, 224, 224). Raises ImageError."""
    square = centre_crop(decode_image(file).image, CLIP.crop)
    values = np.asarray(square, np.float32) / np.float32(255)
    pixels = (values - np.array(CLIP.mean, np.float32)) / np.array(CLIP.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _read_head(path: Path) -> Head:
    """Return the probe in a file of `torch.save`. Raises DetectorError."""
    try:
        import torch
    except ImportError as error:
        raise DetectorError(f"univfd:{path} needs PyTorch: pip install 'changeling[evaluate]' ({error})") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weight, bias = (state[key].float().numpy().reshape(-1) for key in ("weight", "bias"))
        return Head(weight, float(bias.item()))
    except Exception as error:  # torch raises exceptions of many types for files that are not its own
        raise DetectorError(f"univfd:{path} is not a probe with `weight` and `bias`: {one_line(error)}") from None
