"""Backbones whose image model is a PyTorch model; they run on PyTorch or, exported, on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from changeling.backbones.onnx import OnnxBackbone, select_layer
from changeling.backbones.onnx_export import ExportError, export_to_onnx
from changeling.backbones.torch_model import Floats, TextEncoder, TorchModel, compute_layers, has_gpu
from changeling.errors import BackboneError
from changeling.progress import Progress

if TYPE_CHECKING:
    from changeling.backbones.registry import Backbone, Runtime


def open_backbone(model: TorchModel, name: str, layer: str, runtime: Runtime, progress: Progress) -> Backbone:
    """Open `model` on PyTorch if there is a GPU, and otherwise on onnxruntime if it can be exported.

    Raises:
        BackboneError: the model has no such layer, or `runtime` is "onnx" and it cannot be exported.
    """
    backbone: Backbone | None = None
    if runtime == "onnx" or (runtime == "auto" and not has_gpu()):
        try:
            backbone = OnnxBackbone(export_to_onnx(model, name, progress), name, layer)
        except ExportError:
            if runtime == "onnx":
                raise
    if backbone is None:
        backbone = TorchBackbone(model, name, layer)
    is_default_layer = backbone.name == name
    return BackboneWithText(backbone, model.encode_text) if model.encode_text and is_default_layer else backbone


class TorchBackbone:
    """A frozen encoder that runs on PyTorch.

    On CUDA it runs in half precision: features are within 1 % of the largest value of those in single precision. On a
    CPU and on the GPU of an Apple processor it runs in single precision.
    """

    def __init__(self, model: TorchModel, name: str, layer: str) -> None:
        """Raises BackboneError if the model has no such layer."""
        self._model, self.preprocessing = model, model.preprocessing
        layers = compute_layers(model, model.blank_image(), name)
        self._layer, self.name = select_layer(layers, layer, name)
        self.dim = layers[self._layer].shape[1]
        self.weights = f"{model.weights}-half" if model.in_half_precision else model.weights

    def encode(self, pixels: Floats) -> Floats:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        for half in (True, False):  # values too large for half precision are computed in single precision
            features = compute_layers(self._model, pixels, self.name, half)[self._layer]
            if np.isfinite(features).all():
                return features
        raise BackboneError(f"{self.name} overflows: its features are not all finite")


class BackboneWithText:
    """An image backbone together with its text tower."""

    def __init__(self, backbone: Backbone, encode_text: TextEncoder) -> None:
        self.name, self.weights = backbone.name, backbone.weights
        self.preprocessing, self.dim = backbone.preprocessing, backbone.dim
        self._backbone, self._encode_text = backbone, encode_text

    def encode(self, pixels: Floats) -> Floats:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        return self._backbone.encode(pixels)

    def encode_text(self, captions: Sequence[str]) -> Floats:
        """Captions -> features (N, D) in the space of the image features, float32. Raises BackboneError."""
        return self._encode_text(captions) if len(captions) else np.empty((0, self.dim), np.float32)
