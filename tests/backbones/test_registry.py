from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from changeling.backbones import registry
from changeling.backbones.onnx import OnnxBackbone
from changeling.errors import BackboneError
from changeling.images.transforms import IMAGENET
from tests import helpers


def test_names_are_the_aliases_of_the_design() -> None:
    assert tuple(registry.ALIASES) == (
        "clip-vit-b16",
        "dinov2-vit-s14",
        "efficientnet-lite0",
        "rn50-imagenet",
        "vit-b32-imagenet",
        "clip-rn50",
        "clip-vit-b32",
        "openclip-vit-b32-laion400m",
        "openclip-vit-b32-laion2b",
    )


def test_the_backbones_of_the_paper_are_those_of_the_design() -> None:
    """`vit-b32-imagenet` was trained on the 1.3 million images of ImageNet-1k alone, as the paper says."""
    assert {name: alias.model for name, alias in registry.ALIASES.items() if isinstance(alias.model, str)} == {
        "rn50-imagenet": "timm:resnet50.tv_in1k",
        "vit-b32-imagenet": "timm:vit_base_patch32_224.augreg_in1k",
        "clip-rn50": "open_clip:RN50-quickgelu/openai",
        "clip-vit-b32": "open_clip:ViT-B-32-quickgelu/openai",
        "openclip-vit-b32-laion400m": "open_clip:ViT-B-32-quickgelu/laion400m_e32",
        "openclip-vit-b32-laion2b": "open_clip:ViT-B-32/laion2b_s34b_b79k",
    }


@pytest.mark.parametrize(
    "name", ["timm:vit_base_patch32_224.augreg_in1k", "timm:vit_base_patch32_224.augreg_in21k_ft_in1k"]
)
def test_both_trainings_of_the_vision_transformer_can_be_named(name: str) -> None:
    timm = pytest.importorskip("timm")
    registry.check_backbone(name)
    assert timm.is_model_pretrained(name.removeprefix("timm:"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no-such",
            "unknown backbone 'no-such'; choose one of clip-vit-b16, .*, open_clip:ARCH/TAG, timm:NAME or onnx:FILE",
        ),
        ("efficientnet", "unknown backbone 'efficientnet'; did you mean 'efficientnet-lite0'\\? Or choose one of"),
        ("open-clip:ViT-B-32/openai", "unknown backbone 'open-clip:ViT-B-32/openai'"),
        ("", "unknown backbone ''"),
        ("onnx:nowhere.onnx", "nowhere.onnx: no such ONNX file"),
        ("onnx:", "no such ONNX file"),
        ("onnx:{folder}", "no such ONNX file"),
        ("@proj", "unknown backbone '@proj'"),
        ("onnx:{text}", "not an ONNX model"),
        ("onnx:{tiny}@last", "has no layer @last; it has @proj, @pre, @blocks"),
    ],
)
def test_a_wrong_name_says_what_there_is(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a graph")
    tiny = helpers.tiny_onnx(tmp_path / "tiny.onnx")
    name = name.format(folder=tmp_path, text=tmp_path / "text.onnx", tiny=tiny)
    with pytest.raises(BackboneError, match=message) as caught:
        registry.load_backbone(name)
    assert "\n" not in str(caught.value)


def test_a_layer_comes_after_the_last_at(tmp_path: Path) -> None:
    (tmp_path / "at@home").mkdir()
    name = f"onnx:{helpers.tiny_onnx(tmp_path / 'at@home' / 'tiny.onnx')}"
    assert (registry.load_backbone(name).dim, registry.load_backbone(f"{name}@pre").dim) == (16, 24)
    assert registry.load_backbone(f"{name}@pre").name == f"{name}@pre"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("clip-vit-b16", "clip-vit-b16"),
        ("clip-vit-b16@proj", "clip-vit-b16"),
        ("clip-vit-b16@pre", "clip-vit-b16@pre"),
        ("dinov2-vit-s14@pre", "dinov2-vit-s14"),
        ("clip-rn50@proj", "clip-rn50"),
        ("rn50-imagenet@pre", "rn50-imagenet"),
        ("timm:resnet18@logits", "timm:resnet18@logits"),
    ],
)
def test_canonical_name_has_no_default_layer(name: str, canonical: str) -> None:
    assert registry.canonical_name(name) == canonical


@pytest.mark.parametrize("layer", ["", "@proj", "@pre", "@blocks"])
def test_canonical_name_is_that_of_the_loaded_backbone(layer: str, tiny_onnx: Path) -> None:
    name = f"onnx:{tiny_onnx}{layer}"
    assert registry.canonical_name(name) == registry.load_backbone(name).name


def test_canonical_name_of_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(BackboneError, match=r"text\.onnx is not an ONNX model"):
        registry.canonical_name(f"onnx:{tmp_path / 'text.onnx'}@pre")


@pytest.mark.parametrize("name", ["clip-vit-b16", "onnx:x.onnx"])
def test_an_onnx_file_does_not_run_on_torch(name: str) -> None:
    with pytest.raises(BackboneError, match=f"{name} is an ONNX file: it does not run on torch"):
        registry.load_backbone(name, runtime="torch")


def test_an_onnx_file_that_says_nothing_is_fed_like_an_imagenet_classifier(tmp_path: Path) -> None:
    one = registry.load_backbone(f"onnx:{helpers.tiny_onnx(tmp_path / 'one.onnx', silent=True)}")
    repeated = registry.load_backbone(f"onnx:{helpers.tiny_onnx(tmp_path / 'repeated.onnx', silent=True)}")
    other = registry.load_backbone(f"onnx:{helpers.tiny_onnx(tmp_path / 'other.onnx', silent=True, seed=1)}")
    assert one.preprocessing == IMAGENET
    assert one.weights == repeated.weights != other.weights


def test_pixels_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    backbone = registry.load_backbone(f"onnx:{helpers.tiny_onnx(tmp_path / 'tiny.onnx')}")
    with pytest.raises(BackboneError, match="does not take images"):
        backbone.encode(np.zeros((1, 1, 32, 32), np.float32))


def test_a_graph_that_declares_its_shapes_is_opened_without_being_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = helpers.tiny_onnx(tmp_path / "tiny.onnx")
    measured = registry.load_backbone(f"onnx:{path}@pre").dim
    model = onnx.load(path)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = helpers.SIDE
    onnx.save(model, path)
    monkeypatch.delattr(OnnxBackbone, "encode")
    assert registry.load_backbone(f"onnx:{path}@pre").dim == measured == 24
