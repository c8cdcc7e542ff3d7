"""Backbones that run on onnxruntime: ONNX files whose metadata names their weights and preprocessing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from changeling.errors import BackboneError, one_line
from changeling.images.transforms import IMAGENET, Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto  # the package is only imported where a graph is read: that takes a while

_PREPROCESSING = "changeling.preprocessing"
_WEIGHTS = "changeling.weights"


class OnnxBackbone:
    """A frozen encoder in an ONNX file. Its layers are the graph's outputs, each (B, D).

    Attributes:
        name: alias or id, with `@LAYER` unless that is the default layer.
        weights: hash of the weights.
        preprocessing: what is done to an image before it is encoded.
        dim: D, the length of a feature.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        layer: str | None = None,
        *,
        preprocessing: Preprocessing | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the graph at `path`.

        Args:
            path: of an ONNX file.
            name: alias or id, without the layer.
            layer: by default that of `find_default_layer`.
            preprocessing: overrides that of the graph's metadata.
            threads: that work on one batch; by default one for each core.

        Raises:
            BackboneError: it is not a graph, or has no such layer.
        """
        self._session = open_session(path, threads)
        self._layer, self.name = select_layer([output.name for output in self._session.get_outputs()], layer, name)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.weights = metadata.get(_WEIGHTS) or hash_file(path)
        self.preprocessing = preprocessing or _read_preprocessing(metadata, path)
        self._input = self._session.get_inputs()[0].name
        self.dim = self._read_dim() or self._measure_dim()

    @property
    def is_on_processor(self) -> bool:
        """Whether the graph runs on the processor, and not on a GPU."""
        return bool(self._session.get_providers() == ["CPUExecutionProvider"])

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32.

        Raises:
            BackboneError: the graph does not take such images or does not return one vector for each.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        try:
            (features,) = self._session.run([self._layer], {self._input: pixels})
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise BackboneError(f"{self.name} does not take images of {pixels.shape}: {one_line(error)}") from None
        if features.ndim != 2 or len(features) != len(pixels):
            raise BackboneError(f"{self.name} returns {features.shape} for {len(pixels)} images, not one vector each")
        return np.asarray(features, dtype=np.float32)

    def _read_dim(self) -> int | None:
        """Return D if the graph declares that it takes preprocessed images and returns D numbers for each."""
        images = self._session.get_inputs()[0].shape
        features = next(output.shape for output in self._session.get_outputs() if output.name == self._layer)
        side = self.preprocessing.crop
        is_declared = len(features) == 2 and isinstance(features[1], int) and isinstance(images[0], str)
        if is_declared and images == [features[0], 3, side, side]:
            return int(features[1])
        return None

    def _measure_dim(self) -> int:
        """Encode a black image and return D."""
        side = self.preprocessing.crop
        return int(self.encode(np.zeros((1, 3, side, side), np.float32)).shape[1])


def find_default_layer(layers: Collection[str]) -> str:
    """Return the layer that is used if none is requested."""
    return "proj" if "proj" in layers else next(iter(layers))


def select_layer(layers: Collection[str], layer: str | None, name: str) -> tuple[str, str]:
    """Return the requested layer (or the default) and the backbone's name with that layer. Raises BackboneError."""
    default = find_default_layer(layers)
    layer = layer or default
    if layer not in layers:
        raise BackboneError(f"{name} has no layer @{layer}; it has {', '.join(f'@{known}' for known in layers)}")
    return layer, name if layer == default else f"{name}@{layer}"


def _read_preprocessing(metadata: dict[str, str], path: Path) -> Preprocessing:
    if _PREPROCESSING not in metadata:
        return IMAGENET
    try:
        return Preprocessing.model_validate_json(metadata[_PREPROCESSING])
    except ValidationError as error:
        raise BackboneError(f"{path}: its metadata holds an invalid preprocessing: {one_line(error)}") from None


def has_preprocessing(path: Path) -> bool:
    """Return whether the metadata of an ONNX file names its preprocessing. Raises BackboneError if it is not one."""
    return any(entry.key == _PREPROCESSING for entry in load_without_weights(path).metadata_props)


def write_metadata(model: Any, *, weights: str, preprocessing: Preprocessing) -> None:
    """Write the metadata that `OnnxBackbone` reads into an ONNX model."""
    for key, value in ((_WEIGHTS, weights), (_PREPROCESSING, preprocessing.model_dump_json())):
        model.metadata_props.add(key=key, value=value)


def read_layers(path: Path) -> list[str]:
    """Return the layers of an ONNX file. Raises BackboneError if it is not one."""
    return [output.name for output in load_without_weights(path).graph.output]


def load_without_weights(path: Path) -> ModelProto:
    """Load an ONNX file without weights that lie beside it. Raises BackboneError if it is not one."""
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # those of protobuf are not public
        raise BackboneError(f"{path} is not an ONNX model: {one_line(error)}") from None


def measure_difference(features: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of features from expected ones (B, D), relative to the largest of these."""
    if features.shape != expected.shape:
        return float("inf")
    return float(np.abs(features - expected).max() / np.abs(expected).max())


def count_cores() -> int:
    """Return how many cores this process may use; 0 if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def list_providers() -> list[str | tuple[str, dict[str, str]]]:
    """Return where onnxruntime runs graphs: on an NVIDIA GPU if its package is `onnxruntime-gpu`, and on the processor.

    On a GPU, factors are not rounded to ten bits (TF32), so that features are those of the processor up to rounding.
    """
    import onnxruntime

    gpu = "CUDAExecutionProvider"
    has_gpu = gpu in onnxruntime.get_available_providers()
    return [*([(gpu, {"use_tf32": "0"})] if has_gpu else []), "CPUExecutionProvider"]


def open_session(path: Path, threads: int | None = None) -> Any:
    """Open an ONNX file on a GPU if there is one, or else on all cores. Raises BackboneError if it is not one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = count_cores() if threads is None else threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=list_providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BackboneError(f"{path} is not an ONNX model that onnxruntime can run: {one_line(error)}") from None


def hash_file(path: Path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
