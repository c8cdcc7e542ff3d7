"""open_clip's names, checkpoints and text towers; what does not fit is refused in one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from changeling.backbones import registry
from changeling.backbones.onnx_export import TOLERANCE
from changeling.backbones.registry import Runtime, TextBackbone
from changeling.errors import BackboneError
from changeling.images.transforms import CLIP
from tests.backbones import hub
from tests.backbones.hub import drop, refused

pytestmark = pytest.mark.usefixtures("tiny_hub")
State = dict[str, Tensor]
CAPTIONS = ["a photo of a temple", "a red flower, close up", "", "naïve café ☕ 花", "many words " * 60]


@pytest.fixture(scope="module")
def state(tiny_hub: Path) -> State:
    """Weights of a tiny ViT-B-32."""
    assert tiny_hub.is_dir()
    return dict(hub.fresh("openclip-vit-b32-laion2b", seed=7).state_dict())


@pytest.fixture
def file(state: State, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def encoded(name: str, runtime: Runtime = "torch") -> np.ndarray:
    backbone = registry.load_backbone(name, runtime=runtime)
    return backbone.encode(np.stack([backbone.preprocessing(photograph) for photograph in hub.photographs()]))


# Captions


@pytest.mark.parametrize(
    ("alias", "runtime"), [*((alias, "torch") for alias in hub.OPEN_CLIP), ("clip-vit-b32", "onnx")]
)
def test_captions_are_encoded_as_open_clip_does(alias: str, runtime: Runtime) -> None:
    backbone = registry.load_backbone(alias, runtime=runtime)
    assert isinstance(backbone, TextBackbone)
    arch, _, tag = hub.IDS[alias].removeprefix("open_clip:").partition("/")
    model = open_clip.create_model(arch, tag).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(arch)(CAPTIONS)).numpy()
    found = backbone.encode_text(CAPTIONS)
    assert found.dtype == np.float32
    assert found.shape == (len(CAPTIONS), backbone.dim)
    assert hub.difference(found, expected) < 1e-5
    assert np.ptp(expected, axis=0).max() > 0.1


def test_any_number_of_captions_is_encoded() -> None:
    backbone = registry.load_backbone("clip-vit-b32", runtime="torch")
    assert isinstance(backbone, TextBackbone)
    assert backbone.encode_text([]).shape == (0, 48)
    captions = [f"scene {number}" for number in range(300)]
    found = backbone.encode_text(captions)
    assert found.shape == (300, 48)
    assert hub.difference(found[290:], backbone.encode_text(captions[290:])) < 1e-5
    np.testing.assert_array_equal(backbone.encode_text(np.array(captions[:3])), backbone.encode_text(captions[:3]))  # type: ignore[arg-type]


def test_a_tokenizer_that_needs_transformers_says_so(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_folder(tmp_path / "folder", state, text_cfg=hub.TEXT | {"hf_tokenizer_name": "x"})
    backbone = registry.load_backbone(name, runtime="torch")
    assert isinstance(backbone, TextBackbone)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackboneError, match=f"the tokenizer of {name} needs transformers: pip install transformers$"):
        backbone.encode_text(CAPTIONS)


# Names and files


def test_a_file_gives_what_the_tag_gives(tiny_hub: Path, tmp_path: Path) -> None:
    (weights,) = tiny_hub.glob("models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K/snapshots/*/*.safetensors")
    shutil.copy(weights, tmp_path / "weights.safetensors")
    by_file, by_tag = f"open_clip:ViT-B-32/{tmp_path}/weights.safetensors", "openclip-vit-b32-laion2b"
    np.testing.assert_array_equal(encoded(by_file), encoded(by_tag))
    one, other = registry.load_backbone(by_file, runtime="torch"), registry.load_backbone(by_tag, runtime="torch")
    assert (one.name, one.weights) == (by_file, other.weights)
    assert one.preprocessing == other.preprocessing
    np.testing.assert_array_equal(encoded("open_clip:ViT-B-32/laion2b_s34b_b79k"), encoded(by_tag))


def test_a_name_with_a_folder_in_it_becomes_a_file_in_the_cache(file: Path) -> None:
    name = f"open_clip:ViT-B-32/{file}"
    assert registry.load_backbone(f"{name}@pre", runtime="onnx").name == f"{name}@pre"
    assert hub.difference(encoded(name, "onnx"), encoded(name)) < TOLERANCE


def test_the_hash_is_of_the_weights_and_not_of_the_file(state: State, tmp_path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in reversed(state.items())}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "checkpoint.pt")
    save_file(state, tmp_path / "same.safetensors")
    torch.save(state | {"visual.proj": -state["visual.proj"]}, tmp_path / "other.pt")
    torch.save(state | {"text_projection": -state["text_projection"]}, tmp_path / "text.pt")

    def weights(arch: str, file: str) -> str:
        return registry.load_backbone(f"open_clip:{arch}/{tmp_path / file}", runtime="torch").weights

    first = weights("ViT-B-32", "same.safetensors")
    assert len(first) == 16
    assert weights("ViT-B-32", "checkpoint.pt") == first
    others = {weights("ViT-B-32", "other.pt"), weights("ViT-B-32", "text.pt")}
    others.add(weights("ViT-B-32-quickgelu", "same.safetensors"))  # the same tensors do something else
    assert len(others - {first}) == 3


def write_folder(folder: Path, state: State | None, preprocess: dict[str, Any] | None = None, **model: Any) -> str:
    folder.mkdir()
    config = {"model_cfg": hub.CONFIGS["ViT-B-32"] | model, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if state is not None:
        save_file(state, folder / "open_clip_model.safetensors")
    return f"open_clip:{folder}"


def test_a_folder_brings_its_architecture_and_preprocessing(state: State, file: Path, tmp_path: Path) -> None:
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "interpolation": "bilinear"}
    plain = write_folder(tmp_path / "plain", state)
    other = write_folder(tmp_path / "other", state, preprocess)
    np.testing.assert_array_equal(encoded(plain), encoded(f"open_clip:ViT-B-32/{file}"))
    backbone = registry.load_backbone(other)
    assert backbone.name == other
    assert backbone.preprocessing.model_dump() == {
        "version": 2,
        "resize": 224,
        "crop": 224,
        "interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.1),
    }
    assert isinstance(backbone, TextBackbone)
    assert backbone.encode_text(CAPTIONS).shape == (5, 48)


def test_a_repository_of_the_hub_is_loaded(state: State, tiny_hub: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", state)
    hub.put(tiny_hub, "somebody/model", "open_clip_model.safetensors", state)
    (snapshot,) = tiny_hub.glob("models--somebody--model/snapshots/*")
    shutil.copy(tmp_path / "folder" / "open_clip_config.json", snapshot)
    np.testing.assert_array_equal(encoded("open_clip:hf-hub:somebody/model"), encoded(folder))


TIMM = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "token", "image_size": 160}
COCA = {"output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 2}


def library_features(model: Any, pixels: Tensor, blocks: bool) -> State:
    """By layer, by ways that the libraries offer."""
    layers, visual = {"proj": model.encode_image(pixels, normalize=False)}, model.visual
    tokens: list[Tensor] = []
    if not hasattr(visual, "trunk"):
        tokens = visual.forward_intermediates(pixels, output_extra_tokens=True)["image_intermediates_prefix"]
        visual.proj = None
    elif blocks:
        given = visual.trunk.forward_intermediates(pixels, return_prefix_tokens=True, intermediates_only=True)
        tokens = [prefix for _, prefix in given]
    layers["pre"] = visual.trunk(pixels) if hasattr(visual, "trunk") else model.encode_image(pixels, normalize=False)
    return layers | ({"blocks": torch.cat([prefix[:, 0] for prefix in tokens], dim=1)} if blocks else {})


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ({"vision_cfg": TIMM | {"timm_proj": "linear"}}, {"proj": 48, "pre": 64, "blocks": 6 * 64}),
        ({"vision_cfg": TIMM | {"timm_proj": "none"}, "embed_dim": 64}, {"proj": 64, "blocks": 6 * 64}),
        (
            {"vision_cfg": TIMM | {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"}},
            {"proj": 48, "pre": 96},
        ),
        (
            {
                "custom_text": True,
                "vision_cfg": hub.TRANSFORMER | COCA,
                "text_cfg": hub.TEXT | {"embed_cls": True, "output_tokens": True},
                "multimodal_cfg": hub.TEXT,
            },
            {"proj": 48, "pre": 48, "blocks": 3 * 64},
        ),
        ({"vision_cfg": hub.TRANSFORMER | {"pool_type": "avg"}, "custom_text": True}, hub.LAYERS["clip-vit-b32"]),
    ],
    ids=["timm ViT", "timm ViT without projection", "timm ResNet", "CoCa", "average pool"],
)
def test_models_of_other_classes(model: dict[str, Any], layers: dict[str, int], tmp_path: Path) -> None:
    name = write_folder(tmp_path / "folder", None, **model)
    made = hub.shaken(open_clip.create_model(f"local-dir:{tmp_path / 'folder'}"), seed=3)
    save_file(made.state_dict(), tmp_path / "folder" / "open_clip_model.safetensors")
    backbone = registry.load_backbone(name, runtime="onnx")
    pixels = np.stack([backbone.preprocessing(photograph) for photograph in hub.photographs()])
    with torch.no_grad():
        texts = made.encode_text(open_clip.get_tokenizer("ViT-B-32")(CAPTIONS), normalize=False).numpy()
        expected = library_features(made, torch.tensor(pixels), blocks="blocks" in layers)
    assert isinstance(backbone, TextBackbone)
    assert hub.difference(backbone.encode_text(CAPTIONS), texts) < TOLERANCE
    for layer, dim in layers.items():
        backbone = registry.load_backbone(f"{name}@{layer}", runtime="onnx")
        assert backbone.dim == dim
        assert hub.difference(backbone.encode(pixels), expected[layer].numpy()) < TOLERANCE
    refused(f"{name}@none", f"it has {', '.join(f'@{layer}' for layer in layers)}$")


# What is refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-32/openai", "trained with QuickGELU; use open_clip:ViT-B-32-quickgelu/openai$"),
        ("ViT-B-32/laion400m_e32", "trained with QuickGELU; use open_clip:ViT-B-32-quickgelu/laion400m_e32$"),
        ("RN50/openai", "trained with QuickGELU; use open_clip:RN50-quickgelu/openai$"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "without QuickGELU; use open_clip:ViT-B-32/laion2b_s34b_b79k$"),
    ],
)
def test_weights_for_another_activation_are_refused(name: str, message: str) -> None:
    refused(f"open_clip:{name}", message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/openai", "no architecture 'ViT-B-33', .*; did you mean .*open_clip:ViT-B-32-quickgelu/openai"),
        ("no such thing", "no architecture 'no such thing', and 'no such thing' is not a folder$"),
        ("", "no architecture '', and '' is not a folder$"),
        ("ViT-B-32/laion2b", "'laion2b' is neither a tag of ViT-B-32 nor a file; did you mean .*laion2b_s34b_b79k"),
        ("ViT-B-32/nowhere.pt", "'nowhere.pt' is neither a tag of ViT-B-32 nor a file$"),
        (
            "ViT-B-32/",
            "ViT-B-32/: the weights are not named; choose for example open_clip:ViT-B-32/laion2b",
        ),  # openai's want QuickGELU
        ("RN50", "open_clip:RN50: the weights are not named; choose for example open_clip:RN50/FILE$"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    refused(f"open_clip:{name}", message)


LARGER = {"visual.positional_embedding": torch.ones(65, 64)}  # of images of 256 x 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: drop(state, "visual.proj"), r"Missing key\(s\) in state_dict: \"visual.proj\""),
        (lambda state: drop(state, "ln_final.bias"), r"Missing key\(s\) in state_dict: \"ln_final.bias\""),
        (lambda state: state | {"more": torch.ones(3)}, r"Unexpected key\(s\) in state_dict: \"more\""),
        (lambda state: state | {"visual.proj": torch.ones(64, 40)}, "size mismatch for visual.proj"),
        (lambda state: state | LARGER, r"size mismatch for visual.positional_embedding: .*\[65, 64\].*\[50, 64\]"),
        (lambda state: state | {"positional_embedding": torch.ones(60, 32)}, "size mismatch for positional_embedding"),
        (lambda state: {name.removeprefix("visual."): tensor for name, tensor in state.items()}, "cannot be loaded"),
        (lambda _: {}, "cannot be loaded"),
    ],
    ids=["image key", "text key", "unexpected", "shape", "image size", "text length", "image tower alone", "nothing"],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[State], State], message: str, state: State, tmp_path: Path
) -> None:
    for ending, save in ((".pt", torch.save), (".safetensors", save_file)):
        save(change(dict(state)), tmp_path / f"changed{ending}")
        refused(f"open_clip:ViT-B-32/{tmp_path / 'changed'}{ending}", message)


def test_position_embeddings_are_not_stretched(state: State, tiny_hub: Path, tmp_path: Path) -> None:
    hub.put(tiny_hub, "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "open_clip_model.safetensors", state | LARGER)
    for name in (write_folder(tmp_path / "folder", state | LARGER), "open_clip:ViT-B-32/datacomp_xl_s13b_b90k"):
        refused(name, "size mismatch for visual.positional_embedding")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(hub.fresh("clip-rn50").state_dict(), tmp_path / "resnet.pt")
    refused(f"open_clip:ViT-B-32-quickgelu/{tmp_path / 'resnet.pt'}", "cannot be loaded: .*Missing key")


def test_code_in_a_checkpoint_is_not_run(state: State, tmp_path: Path) -> None:
    for index, content in enumerate((state | {"x": hub.Harmful(tmp_path / "mark")}, hub.Harmful(tmp_path / "mark"))):
        torch.save(content, tmp_path / f"{index}.pt")
        refused(f"open_clip:ViT-B-32/{tmp_path / str(index)}.pt", "the checkpoint contains code, which is not run")
    assert not (tmp_path / "mark").exists()


def test_a_tokenizer_that_runs_code_is_refused(state: State, tmp_path: Path) -> None:
    text = hub.TEXT | {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    name = write_folder(tmp_path / "folder", state, text_cfg=text)
    refused(name, f"{name}: its tokenizer needs to run code of the repository, which is not allowed$")


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated")
def test_torchscript_is_not_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "script.pt"))
    refused(f"open_clip:ViT-B-32/{tmp_path / 'script.pt'}", "the checkpoint contains code, which is not run")


@pytest.mark.parametrize("ending", [".pt", ".bin", ".safetensors", ".npz", ".npy"])
@pytest.mark.parametrize("content", [b"", b"not weights", bytes(range(256)) * 9])
def test_a_file_that_holds_no_weights_is_refused(ending: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"x{ending}").write_bytes(content)
    refused(f"open_clip:ViT-B-32/{tmp_path / 'x'}{ending}", "cannot be loaded|contains code")


@pytest.mark.parametrize(
    ("preprocess", "image_size"),
    [
        ({"resize_mode": "squash"}, 224),
        ({"resize_mode": "longest"}, 224),
        ({"interpolation": "random"}, 224),
        ({"interpolation": "lanczos"}, 224),
        ({}, (224, 192)),
    ],
)
def test_preprocessing_that_cannot_be_made_here_is_refused(
    preprocess: dict[str, Any], image_size: Any, tmp_path: Path
) -> None:
    vision = hub.TRANSFORMER | {"image_size": image_size}
    name = write_folder(tmp_path / "folder", None, preprocess, vision_cfg=vision)
    made = open_clip.create_model(f"local-dir:{tmp_path / 'folder'}")
    save_file(made.state_dict(), tmp_path / "folder" / "open_clip_model.safetensors")
    refused(name, "supported are images cropped to a centre square")


def test_pictures_differ_where_the_activation_does(file: Path) -> None:
    plain, quick = encoded(f"open_clip:ViT-B-32/{file}"), encoded(f"open_clip:ViT-B-32-quickgelu/{file}")
    assert hub.difference(quick, plain) > 1e-3
    assert registry.load_backbone(f"open_clip:ViT-B-32/{file}", runtime="torch").preprocessing == CLIP.model_copy(
        update={"version": 2}
    )
