"""The quantized graph of CLIP, against the graph in floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from changeling.backbones import registry
from changeling.backbones.class_tokens import build_class_token_graph
from changeling.backbones.compact import load_quantized_backbone
from changeling.backbones.onnx import open_session
from changeling.backbones.quantized import build_quantized_graph
from changeling.backbones.sample_pictures import load_pictures
from changeling.progress import silent
from tests.backbones.test_compact import GRID, PATCH, draw_weights, export_weights

SIDE = GRID * PATCH


def draw_pixels(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def run(graph: ModelProto, pixels: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    onnx.save(graph, folder / "graph.onnx")
    (features,) = open_session(folder / "graph.onnx").run(["blocks"], {"pixel_values": pixels})
    return np.asarray(features)


@pytest.mark.parametrize("outliers", [1, 100])
def test_features_are_nearly_those_in_floats(outliers: float, tmp_path: Path) -> None:
    tensors = draw_weights()
    for block in range(3):  # a channel of the first norm with large values, which would decide every scale
        tensors[f"encoder.layers.{block}.layer_norm2.weight"][7] *= outliers
        tensors[f"encoder.layers.{block}.mlp.fc1.matrix"][7] /= outliers
    exported, pixels = export_weights(tensors), draw_pixels(20)
    expected = run(build_class_token_graph(exported), pixels, tmp_path)
    features = run(build_quantized_graph(exported, draw_pixels(4, seed=2)), pixels, tmp_path)
    assert not np.array_equal(features, expected)
    np.testing.assert_allclose(features, expected, atol=0.03 * np.abs(expected).max())


def test_ranges_are_those_of_all_pictures() -> None:
    exported, pixels = export_weights(draw_weights()), draw_pixels(6)
    graphs = [build_quantized_graph(exported, some) for some in (pixels, pixels[::-1], pixels[:2])]
    assert graphs[0] == graphs[1]
    assert graphs[0] != graphs[2]


def test_weights_do_not_overflow_in_sixteen_bits() -> None:
    graph = build_quantized_graph(export_weights(draw_weights()), draw_pixels(2)).graph
    integers = [numpy_helper.to_array(one) for one in graph.initializer if one.name.endswith(".integers")]
    assert len(integers) == 2 * 4  # the last block runs in floats
    largest = max(np.abs(one.astype(int)).max() for one in integers)
    assert 255 * largest * 2 < 2**15 <= 255 * (largest + 2) * 2


def test_features_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    graph = build_quantized_graph(export_weights(draw_weights()), draw_pixels(2))
    pixels = np.concatenate([draw_pixels(3), 1000 * draw_pixels(1)])
    for image, features in zip(pixels, run(graph, pixels, tmp_path), strict=True):
        np.testing.assert_array_equal(run(graph, image[None], tmp_path)[0], features)


def test_layers_of_zeros_give_the_features_in_floats(tmp_path: Path) -> None:
    tensors = draw_weights()
    for layer in ("0.self_attn.v_proj", "0.mlp.fc1"):  # so that the next layer gets zeros
        tensors[f"encoder.layers.{layer}.matrix"][:] = tensors[f"encoder.layers.{layer}.bias"][:] = 0
    exported, pixels = export_weights(tensors), draw_pixels(3)
    expected = run(build_class_token_graph(exported), pixels, tmp_path)
    features = run(build_quantized_graph(exported, draw_pixels(2)), pixels, tmp_path)
    np.testing.assert_allclose(features, expected, atol=0.03 * np.abs(expected).max())


@pytest.mark.network
def test_the_quantized_graph_gives_nearly_the_features_of_the_exported_one() -> None:
    exact = registry.load_backbone("clip-vit-b16@blocks")
    backbone = load_quantized_backbone("clip-vit-b16@blocks", silent)
    pixels = load_pictures(exact.preprocessing)[:, :, ::-1].copy()  # upside down: not those that set the ranges
    features, expected = backbone.encode(pixels), exact.encode(pixels)
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((features * expected).sum(axis=1) / norms).min() > 0.995
    assert backbone.weights == f"{exact.weights}-quantized"
