"""CLIP's image tower with linear layers in 8-bit integers: features that differ a little, at less work.

- Each token is scaled by its own largest value, so that its features do not depend on other tokens or images.
- Channels with large values are scaled down and their weights up by the same factor, so that they do not decide the
  scale of the token (SmoothQuant, Xiao et al., 2023). The factors come from a few pictures.
- Weights have 7 bits. Processors without VNNI add two products in 16 bits, which 8 bits would overflow; so all
  processors compute the same integers.
- The second layer of an MLP takes values that are hardly ever negative: they are scaled from the smallest to the
  largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from changeling.backbones.class_tokens import Array, GraphWriter, TowerWeights
from changeling.backbones.onnx import open_session

_MAX_WEIGHT = 63  # 255 x 63 x 2 is less than 2^15
_ZERO = 128  # of inputs that are scaled symmetrically, as unsigned integers
_SMALLEST = 1e-5  # of a range, so that no scale is 0
_BATCH = 2
_UNSIGNED_LAYER = "mlp.fc2"


def build_quantized_graph(exported: ModelProto, pixels: NDArray[np.float32]) -> ModelProto:
    """Return a graph like that of `build_class_token_graph`, with linear layers in integers.

    Args:
        exported: the float graph.
        pixels: preprocessed pictures (N, 3, H, W), from which the ranges of the layers' inputs are taken.

    Raises:
        BackboneError: the graph does not name its weights as the Hugging Face export of CLIP does.
    """
    weights = TowerWeights(exported)
    writer = _QuantizedWriter(weights, _measure_ranges(weights, pixels))
    writer.add_tower()
    return writer.make_model()


class _QuantizedWriter(GraphWriter):
    """Writes the linear layers for all tokens in integers."""

    def __init__(self, weights: TowerWeights, ranges: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__(weights)
        self._ranges = ranges

    def multiply_tokens(self, tokens: str, name: str, matrix: Array, bias: Array) -> str:
        """Add a linear layer: `s (q W) S + b`, where q are a token's integers, s is its scale and S that of W."""
        factors = _balance_ranges(self._ranges[name], matrix)
        scales, integers = _quantize_weights(np.asarray(matrix, np.float32) * factors[:, None])
        tokens = self._add("Mul", tokens, self._constant(f"{name}.factors", 1 / factors))
        constants = [self._constant(f"{name}.integers", integers), self._constant("one", np.ones((), np.float32))]
        constants.append(self._constant(f"{name}.scales", scales))
        if name.endswith(_UNSIGNED_LAYER):
            lowest = self._add("ReduceMin", tokens, axes=[1], keepdims=1)
            highest = self._add("ReduceMax", tokens, axes=[1], keepdims=1)
            scale = self._scale(self._add("Sub", highest, lowest), 255)
            product = self._multiply_integers(self._add("Sub", tokens, lowest), scale, constants)
            of_lowest = self._constant(f"{name}.sums", integers.astype(np.float32).sum(axis=0) * scales)
            product = self._add("Add", product, self._add("Mul", lowest, of_lowest))
        else:
            scale = self._scale(self._add("ReduceMax", self._add("Abs", tokens), axes=[1], keepdims=1), 127)
            product = self._multiply_integers(tokens, scale, constants, zero=_ZERO)
        return self._add("Add", product, self._constant(f"{name}.bias", bias))

    def _scale(self, largest: str, levels: int) -> str:
        scale = self._add("Mul", largest, self._constant(f"1/{levels}", np.array(1 / levels, np.float32)))
        return self._add("Max", scale, self._constant("smallest", np.array(_SMALLEST / levels, np.float32)))

    def _multiply_integers(self, tokens: str, scale: str, constants: list[str], zero: int = 0) -> str:
        """Add the rounding of tokens to integers and their product with the weights."""
        integers = self._add("Round", self._add("Mul", tokens, self._add("Reciprocal", scale)))
        integers = self._add("Add", integers, self._constant(f"{zero}", np.array(zero, np.float32)))
        integers = self._add("Cast", integers, to=TensorProto.UINT8)
        zero_point = self._constant(f"{zero}.integer", np.array(zero, np.uint8))
        weights, *scales = constants
        product = self._add("MatMulIntegerToFloat", integers, weights, *scales, zero_point, domain="com.microsoft")
        return self._add("Mul", product, scale)


def _measure_ranges(weights: TowerWeights, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return for each linear layer for all tokens the largest absolute value (in,) of each channel of its inputs."""
    writer = GraphWriter(weights)
    writer.add_tower()
    graph = writer.make_model()
    graph.graph.output.extend(
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in writer.inputs.values()
    )
    ranges: dict[str, NDArray[np.float32]] = {}
    with TemporaryDirectory() as folder:
        onnx.save(graph, Path(folder) / "ranges.onnx")
        session = open_session(Path(folder) / "ranges.onnx")
        for start in range(0, len(pixels), _BATCH):
            inputs = session.run(list(writer.inputs.values()), {"pixel_values": pixels[start : start + _BATCH]})
            for name, values in zip(writer.inputs, inputs, strict=True):
                ranges[name] = np.maximum(ranges.get(name, _SMALLEST), np.abs(values).max(axis=0))
    return ranges


def _balance_ranges(ranges: NDArray[np.float32], matrix: Array) -> NDArray[np.float32]:
    """Return the factors (in,) that channels are divided by: with them, inputs and weights have the same ranges."""
    factors = np.sqrt(ranges / np.maximum(np.abs(matrix).max(axis=1), _SMALLEST))
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)


def _quantize_weights(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return a scale (out,) for each output, and the weights (in, out) as integers."""
    scales = np.maximum(np.abs(matrix).max(axis=0), _SMALLEST) / _MAX_WEIGHT
    return scales.astype(np.float32), np.round(matrix / scales).astype(np.int8)
