"""`onnx:FILE`: a detector in an ONNX file, with one output (a score) or several (logits or probabilities of classes).

Its preprocessing is declared in `FILE.onnx.json` beside it, as for backbones, or in its metadata. The output is the
graph's first: (B, 1) is taken as it is, and of (B, K) the columns after the # are those of fake.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from changeling.backbones.onnx import OnnxBackbone, has_preprocessing, hash_file
from changeling.backbones.onnx_text import read_description
from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.fake_label import find_fake_outputs, split_label
from changeling.evaluation.detectors.model_detector import ModelDetector, Pixels, ScoreArray, convert_logits
from changeling.images.decode import ImageFile

_EXAMPLE = (
    '{"preprocessing": {"version": 2, "resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], '
    '"std": [0.229, 0.224, 0.225]}}'
)


def load_onnx(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Open an ONNX file. Raises DetectorError if its preprocessing is not declared, BackboneError if it cannot run."""
    name, requested = split_label(argument)
    path, spec = Path(name), f"onnx:{name}"
    if not path.is_file():
        raise DetectorError(f"{spec}: there is no such file")
    declared = read_description(path).preprocessing
    if declared is None and not has_preprocessing(path):
        raise DetectorError(f"{spec}: its preprocessing is not declared; write {path.name}.json beside it: {_EXAMPLE}")
    graph = OnnxBackbone(path, spec, preprocessing=declared)
    fakes = find_fake_outputs([str(index) for index in range(graph.dim)], requested, spec)

    def load(file: ImageFile) -> Pixels:
        return graph.preprocessing(graph.preprocessing.decode(file).image)

    def predict(pixels: Pixels) -> ScoreArray:
        return _convert_outputs(graph.encode(pixels), fakes)

    return ModelDetector(hash_identity("onnx", hash_file(path), graph.preprocessing.hash, str(fakes)), load, predict)


def _convert_outputs(outputs: Pixels, fakes: tuple[int, ...]) -> ScoreArray:
    """Return the scores (B,) of outputs (B, K)."""
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    are_probabilities = (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3)
    return outputs[:, fakes].sum(axis=1) if are_probabilities else convert_logits(outputs, fakes)
