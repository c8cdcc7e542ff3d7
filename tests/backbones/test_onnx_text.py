"""ONNX files with a description beside them: preprocessing and a text tower, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from changeling.backbones import registry
from changeling.backbones.onnx_text import OnnxTextBackbone
from changeling.datasets.dataset import Dataset
from changeling.errors import BackboneError
from changeling.features.captions import load_caption_features
from tests import helpers
from tests.helpers import run_changeling

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "scene", "said", ",", "0", "1", "2", "3"]
TABLE = np.random.default_rng(0).normal(size=(len(WORDS), helpers.DIM)).astype(np.float32)
PREPROCESSING = {"resize": 40, "crop": 32, "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]}


def write_text_model(
    path: Path, *, with_mask: bool = True, length: int | str = "tokens", dim: int = helpers.DIM
) -> None:
    """Write a text tower: the sum of the vectors of the tokens, of those in the mask if there is one."""
    embed = helper.make_node("Gather", ["table", "input_ids"], ["vectors"])
    nodes = [embed, helper.make_node("ReduceSum", ["vectors", "axis"], ["text_embeds"], keepdims=0)]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", length])]
    tensors = [numpy_helper.from_array(TABLE[:, :dim], "table"), numpy_helper.from_array(np.array([1]), "axis")]
    if with_mask:
        nodes = [
            embed,
            helper.make_node("Cast", ["attention_mask"], ["is_token"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["is_token", "last"], ["weights"]),
            helper.make_node("Mul", ["vectors", "weights"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis"], ["text_embeds"], keepdims=0),
        ]
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", length]))
        tensors.append(numpy_helper.from_array(np.array([2]), "last"))
    outputs = [helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["batch", dim])]
    graph = helper.make_graph(nodes, "text", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_description(image: Path, **changes: Any) -> None:
    text = {"model": "text.onnx", "tokenizer": "tokenizer.json"}
    image.with_name(f"{image.name}.json").write_text(
        json.dumps({"preprocessing": PREPROCESSING, "text": text} | changes)
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ONNX file with a text tower and a tokenizer beside it, and a description of them."""
    folder = tmp_path / "towers"
    folder.mkdir()
    write_text_model(folder / "text.onnx")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    path = helpers.tiny_onnx(folder / "image.onnx", silent=True)
    write_description(path)
    return path


def sum_of(*words: str) -> Any:
    return TABLE[[WORDS.index(word) for word in words]].sum(axis=0)


def test_description_gives_preprocessing_and_text_tower(image: Path) -> None:
    backbone = registry.load_backbone(f"onnx:{image}")
    assert isinstance(backbone, registry.TextBackbone)
    assert registry.has_text_tower(f"onnx:{image}")
    assert json.loads(backbone.preprocessing.model_dump_json()) == {"version": 1} | PREPROCESSING
    features = backbone.encode_text(["scene 1", "scene 2, said 3 3", "elsewhere"])
    expected = [sum_of("scene", "1"), sum_of("scene", "2", ",", "said", "3", "3"), sum_of("[UNK]")]
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_other_layers_have_the_preprocessing_and_no_text_tower(image: Path) -> None:
    backbone = registry.load_backbone(f"onnx:{image}@pre")
    assert not isinstance(backbone, registry.TextBackbone)
    assert not registry.has_text_tower(f"onnx:{image}@pre")
    assert registry.has_text_tower(f"onnx:{image}@proj")
    assert backbone.preprocessing.resize == 40


def test_captions_are_padded_and_cut_to_the_length_of_the_graph(image: Path) -> None:
    write_text_model(image.with_name("text.onnx"), with_mask=False, length=3)
    backbone = registry.load_backbone(f"onnx:{image}")
    assert isinstance(backbone, OnnxTextBackbone)
    expected = [sum_of("scene", "[PAD]", "[PAD]"), sum_of("scene", "1", ",")]
    np.testing.assert_allclose(backbone.encode_text(["scene", "scene 1, said 2"]), expected, rtol=1e-5, atol=1e-6)


def test_weights_change_with_the_text_tower_and_without_it_are_those_of_the_file(image: Path) -> None:
    with_text = registry.load_backbone(f"onnx:{image}").weights
    write_description(image, text={"model": "text.onnx", "tokenizer": "tokenizer.json", "max_tokens": 5})
    other = registry.load_backbone(f"onnx:{image}").weights
    write_description(image, text=None)
    without_text = registry.load_backbone(f"onnx:{image}").weights
    image.with_name("image.onnx.json").unlink()
    assert registry.load_backbone(f"onnx:{image}").weights == without_text
    assert len({with_text, other, without_text}) == 3


def test_extract_encodes_captions_with_the_described_text_tower(image: Path, tiny_dataset: Dataset) -> None:
    ran = run_changeling("extract", tiny_dataset.path, "--backbone", f"onnx:{image}")
    assert ran.returncode == 0, ran.stderr
    features = load_caption_features(tiny_dataset, f"onnx:{image}")
    assert features is not None
    assert tiny_dataset.captions["caption"][4].as_py() == "scene 1, said 1"
    np.testing.assert_allclose(features[4], sum_of("scene", "1", ",", "said", "1"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "image.onnx.json is not a description of image.onnx: "),
        ('{"preprocess": {}}', "image.onnx.json is not a description of image.onnx: "),
        ('{"text": {"model": "gone.onnx", "tokenizer": "tokenizer.json"}}', "gone.onnx, a file of the text tower of "),
        ('{"text": {"model": "text.onnx", "tokenizer": "image.onnx"}}', "image.onnx is not a tokenizer.json: "),
        (
            '{"text": {"model": "tokenizer.json", "tokenizer": "tokenizer.json"}}',
            "is not an ONNX model that onnxruntime",
        ),
    ],
)
def test_invalid_description_is_an_error_in_one_line(text: str, message: str, image: Path) -> None:
    image.with_name("image.onnx.json").write_text(text)
    with pytest.raises(BackboneError) as caught:
        registry.load_backbone(f"onnx:{image}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_tower_of_another_space_is_refused(image: Path) -> None:
    write_text_model(image.with_name("text.onnx"), dim=4)
    with pytest.raises(BackboneError, match=r"has features of 16 numbers for images, but 4 for captions"):
        registry.load_backbone(f"onnx:{image}")
