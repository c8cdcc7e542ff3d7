"""`onnx:FILE`: a detector in an ONNX file, with one output (a score) or several (logits or probabilities of classes).

Its preprocessing is declared in `FILE.onnx.json` beside it, as for backbones, or in its metadata. The output is the
graph's first: (B, 1) is taken as it is, and of (B, K) the columns after the # are those of fake. These are
probabilities if the graph ends in Softmax or Sigmoid, or if the file says `"outputs": "probabilities"`, else logits. A
single column that neither of them describes may be anything.
"""

from __future__ import annotations

from pathlib import Path

from changeling.backbones.onnx import (
    OnnxBackbone,
    find_default_layer,
    has_preprocessing,
    hash_file,
    load_without_weights,
)
from changeling.backbones.onnx_text import read_description
from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, ScoringDetector, hash_identity
from changeling.evaluation.detectors.models.fake_label import find_fake_outputs, split_label
from changeling.evaluation.detectors.models.model_detector import (
    ModelDetector,
    Pixels,
    ScoreArray,
    convert_logits,
    sum_probabilities,
)
from changeling.images.decode import ImageFile

_RESHAPING = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
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
    description = read_description(path)
    declared = description.preprocessing
    if declared is None and not has_preprocessing(path):
        raise DetectorError(f"{spec}: its preprocessing is not declared; write {path.name}.json beside it: {_EXAMPLE}")
    graph = OnnxBackbone(path, spec, preprocessing=declared)
    fakes = find_fake_outputs([str(index) for index in range(graph.dim)], requested, spec)

    are_probabilities = _ends_in_probabilities(path)
    if description.outputs is not None:
        are_probabilities = description.outputs == "probabilities"
    is_known = are_probabilities or description.outputs is not None or graph.dim > 1

    def load(file: ImageFile) -> Pixels:
        return graph.preprocessing(graph.preprocessing.decode(file).image)

    def predict(pixels: Pixels) -> ScoreArray:
        return _convert_outputs(graph.encode(pixels), fakes, are_probabilities=are_probabilities)

    outputs = "probabilities" if are_probabilities else "logits"
    identity = hash_identity(
        "onnx", hash_file(path), graph.preprocessing.hash, str(fakes), outputs if is_known else "unknown"
    )
    if graph.dim > 1:  # logits become probabilities
        return ModelDetector(identity, load, predict)
    return ModelDetector(identity, load, predict, are_probabilities if is_known else None)


def _ends_in_probabilities(path: Path) -> bool:
    """Return whether the output of a graph comes from Softmax or Sigmoid, perhaps reshaped."""
    graph = load_without_weights(path).graph
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(find_default_layer([output.name for output in graph.output]))
    while node is not None and node.op_type in _RESHAPING:
        node = producers.get(node.input[0])
    return node is not None and node.op_type in ("Softmax", "Sigmoid")


def _convert_outputs(outputs: Pixels, fakes: tuple[int, ...], *, are_probabilities: bool) -> ScoreArray:
    """Return the scores (B,) of outputs (B, K)."""
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return sum_probabilities(outputs, fakes) if are_probabilities else convert_logits(outputs, fakes)
