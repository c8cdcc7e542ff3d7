"""The compact graph of CLIP, against a transformer in numpy and against the exported graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from scipy.special import expit, softmax

from changeling.backbones import compact, registry
from changeling.backbones.class_tokens import build_class_token_graph
from changeling.backbones.onnx import open_session
from changeling.backbones.packaged import CLIP_VIT_B16
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing
from changeling.progress import silent

WIDTH, HEADS, BLOCKS, PATCH, GRID = 128, 2, 3, 4, 3
Tensors = dict[str, NDArray[np.float32]]


def draw_weights() -> Tensors:
    """Random weights of a small tower, by the names of the export."""
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.position_embedding.weight": (GRID**2 + 1, WIDTH),
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.class_embedding": (WIDTH,),
        "pre_layrnorm.weight": (WIDTH,),
        "pre_layrnorm.bias": (WIDTH,),
    }
    for block in range(BLOCKS):
        name = f"encoder.layers.{block}"
        linear = {f"{name}.self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
        linear |= {f"{name}.mlp.fc1": (WIDTH, 4 * WIDTH), f"{name}.mlp.fc2": (4 * WIDTH, WIDTH)}
        for layer, shape in linear.items():
            shapes |= {f"{layer}.matrix": shape, f"{layer}.bias": shape[1:]}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{name}.{norm}.weight": (WIDTH,), f"{name}.{norm}.bias": (WIDTH,)}
    return {name: (draw.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}


def export_weights(tensors: Tensors) -> ModelProto:
    """A graph that names its weights as the export does: matrices by number, known by the node that uses them."""
    nodes, constants = [], []
    for number, (name, value) in enumerate(tensors.items()):
        layer = name.removesuffix(".matrix")
        if layer == name:
            constants.append(numpy_helper.from_array(value, f"vision_model.{name}"))
        else:
            node = f"/vision_model/{layer.replace('.', '/').replace('layers/', 'layers.')}/MatMul_quant"
            constants.append(numpy_helper.from_array(value, f"onnx::MatMul_{number}"))
            nodes.append(helper.make_node("MatMul", ["x", f"onnx::MatMul_{number}"], [f"y{number}"], name=node))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    return helper.make_model(helper.make_graph(nodes, "export", inputs, [], constants))


def run_tower(tensors: Tensors, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Class tokens (B, BLOCKS x WIDTH), computed in double precision, token by token."""
    weights: dict[str, Any] = {name: value.astype(np.float64) for name, value in tensors.items()}

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.matrix"] + weights[f"{name}.bias"]

    count = len(pixels)
    patches = pixels.reshape(count, 3, GRID, PATCH, GRID, PATCH).transpose(0, 2, 4, 1, 3, 5).reshape(count, GRID**2, -1)
    patches = patches @ weights["embeddings.patch_embedding.weight"].reshape(WIDTH, -1).T
    first = np.broadcast_to(weights["embeddings.class_embedding"], (count, 1, WIDTH))
    x = np.concatenate([first, patches], axis=1) + weights["embeddings.position_embedding.weight"]
    x = norm(x, "pre_layrnorm")
    class_tokens = []
    for block in range(BLOCKS):
        name = f"encoder.layers.{block}"
        normalised = norm(x, f"{name}.layer_norm1")
        q, k, v = (
            linear(normalised, f"{name}.self_attn.{part}_proj").reshape(count, -1, HEADS, WIDTH // HEADS).swapaxes(1, 2)
            for part in "qkv"
        )
        attended = softmax(q @ k.swapaxes(2, 3) / np.sqrt(WIDTH // HEADS), axis=-1) @ v
        x = x + linear(attended.swapaxes(1, 2).reshape(x.shape), f"{name}.self_attn.out_proj")
        hidden = linear(norm(x, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        x = x + linear(hidden * expit(1.702 * hidden), f"{name}.mlp.fc2")
        class_tokens.append(x[:, 0])
    return np.concatenate(class_tokens, axis=1)


def test_class_tokens_are_those_of_the_transformer(tmp_path: Path) -> None:
    tensors = draw_weights()
    onnx.save(build_class_token_graph(export_weights(tensors)), tmp_path / "compact.onnx")
    pixels = np.random.default_rng(1).normal(size=(3, 3, GRID * PATCH, GRID * PATCH)).astype(np.float32)
    (features,) = open_session(tmp_path / "compact.onnx").run(["blocks"], {"pixel_values": pixels})
    np.testing.assert_allclose(features, run_tower(tensors, pixels), atol=2e-5)


def test_a_graph_with_other_names_is_refused() -> None:
    tensors = draw_weights()
    del tensors["encoder.layers.1.mlp.fc1.matrix"]
    with pytest.raises(BackboneError, match=r"layers.1/mlp/fc1"):
        build_class_token_graph(export_weights(tensors))


@pytest.mark.parametrize("name", ["clip-vit-b16", "clip-vit-b16@proj", "dinov2-vit-s14@blocks"])
def test_a_backbone_without_a_compact_graph_is_refused(name: str) -> None:
    assert not compact.has_compact_graph(name)
    with pytest.raises(BackboneError, match=f"{name} has no compact graph; these have one: clip-vit-b16@blocks"):
        compact.load_compact_backbone(name, silent)


@pytest.fixture
def tiny_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exported graph of a backbone `tiny`, whose compact graph is the same graph."""
    side = GRID * PATCH
    preprocessing = Preprocessing(resize=side, crop=side, mean=(0.5,) * 3, std=(0.5,) * 3)
    exported = tmp_path / "cache" / "exported.onnx"
    exported.parent.mkdir()
    onnx.save(build_class_token_graph(export_weights(draw_weights())), exported)
    model = replace(CLIP_VIT_B16, preprocessing=preprocessing)
    monkeypatch.setattr(compact, "MODELS", {"tiny": model})
    monkeypatch.setattr(compact, "COMPACT", replace(compact.COMPACT, build=lambda graph, _: graph))
    monkeypatch.setattr(compact, "cached_onnx_file", lambda *_: exported)
    return exported


def test_a_compact_graph_is_made_once(tiny_graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = compact.load_compact_backbone("tiny@blocks", silent)
    graph, data = sorted(path for path in tiny_graph.parent.iterdir() if path != tiny_graph)
    assert data.name == f"{graph.name}.data"
    assert data.stat().st_mode == graph.stat().st_mode == tiny_graph.stat().st_mode
    assert graph.stat().st_size < data.stat().st_size / 10  # the weights are mapped into memory, not parsed
    monkeypatch.setattr(compact, "cached_onnx_file", None)
    again = compact.load_compact_backbone("tiny@blocks", silent)
    pixels = np.ones((1, 3, GRID * PATCH, GRID * PATCH), np.float32)
    np.testing.assert_array_equal(made.encode(pixels), again.encode(pixels))
    assert again.weights.endswith("-compact")


def test_a_compact_graph_with_other_features_is_refused(tiny_graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = draw_weights()
    tensors["encoder.layers.1.mlp.fc1.bias"] += 0.1
    other = build_class_token_graph(export_weights(tensors))
    monkeypatch.setattr(compact, "COMPACT", replace(compact.COMPACT, build=lambda *_: other))
    with pytest.raises(BackboneError, match="differs from the exported one"):
        compact.load_compact_backbone("tiny@blocks", silent)
    assert list(tiny_graph.parent.iterdir()) == [tiny_graph]


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_features_do_not_depend_on_batches_and_cores(
    cores: int, tiny_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).normal(size=(41, 3, GRID * PATCH, GRID * PATCH)).astype(np.float32)
    backbone = compact.load_compact_backbone("tiny@blocks", silent)
    expected = np.concatenate([backbone.encode(image[None]) for image in pixels])
    monkeypatch.setattr(compact, "count_cores", lambda: cores)
    for size in (41, 4, 1):
        features = [backbone.encode(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        np.testing.assert_array_equal(np.concatenate(features), expected)
    assert ("_with_one_thread" in vars(backbone)) == (cores > 1)


@pytest.mark.usefixtures("tiny_graph")
def test_a_gpu_gets_all_images_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.ones((40, 3, GRID * PATCH, GRID * PATCH), np.float32)
    backbone = compact.load_compact_backbone("tiny@blocks", silent)
    batches: list[int] = []

    def run(_: list[str], inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        batches.append(len(inputs["pixel_values"]))
        return [inputs["pixel_values"][:, 0, 0]]

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(backbone, "_session", SimpleNamespace(get_providers=lambda: providers, run=run))
    assert backbone.encode(pixels).shape == (40, GRID * PATCH)
    assert batches == [40]


@pytest.mark.network
def test_the_compact_graph_gives_the_features_of_the_exported_one() -> None:
    exact = registry.load_backbone("clip-vit-b16@blocks")
    backbone = compact.load_compact_backbone("clip-vit-b16@blocks", silent)
    pixels = np.random.default_rng(2).normal(size=(3, 3, 224, 224)).astype(np.float32)
    expected = exact.encode(pixels)
    np.testing.assert_allclose(backbone.encode(pixels), expected, atol=1e-5 * np.abs(expected).max())
    assert (backbone.name, backbone.dim) == (exact.name, exact.dim)
    assert backbone.weights == f"{exact.weights}-compact"  # so that stores of features refuse them
