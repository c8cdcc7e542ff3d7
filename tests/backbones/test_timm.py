"""timm's names, folders and families; what does not fit is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from changeling.backbones import registry
from changeling.backbones.onnx_export import TOLERANCE
from changeling.backbones.registry import TextBackbone
from changeling.backbones.torch_backbone import TorchBackbone
from tests.backbones import hub
from tests.backbones.hub import drop, refused

pytestmark = pytest.mark.usefixtures("tiny_hub")
State = dict[str, Tensor]


def model(arch: str = "test_vit", seed: int = 5, **arguments: Any) -> Any:
    """A small model of timm's own, with random weights."""
    return hub.shaken(timm.create_model(arch, **arguments), seed)


def write_folder(folder: Path, arch: str, state: State | None, **config: Any) -> str:
    """What timm reads of a folder, weights by `torch.save` or as safetensors."""
    folder.mkdir()
    arguments = config.pop("model_args", {})
    (folder / "config.json").write_text(
        json.dumps({"architecture": arch, "model_args": arguments, "pretrained_cfg": config})
    )
    if state is not None:
        save_file(state, folder / "model.safetensors")
    return f"timm:{folder}"


CONFIG: dict[str, Any] = {"num_classes": 1000, "input_size": [3, 160, 160], "crop_pct": 0.95}
FIXED = {"img_size": 160, "dynamic_img_size": False}


@pytest.mark.parametrize(
    ("arch", "arguments", "layers"),
    [
        ("test_vit", FIXED, {"pre": 64, "logits": 1000, "blocks": 6 * 64}),
        ("test_vit2", FIXED, {"pre": 64, "logits": 1000}),  # without a class token
        ("test_resnet", {}, {"pre": 96, "logits": 1000}),
        ("test_convnext", {}, {"pre": 64, "logits": 1000}),
        ("test_efficientnet", {}, {"pre": 256, "logits": 1000}),
    ],
)
def test_other_families_run_on_both_runtimes(
    arch: str, arguments: dict[str, Any], layers: dict[str, int], tmp_path: Path
) -> None:
    made = model(arch, **arguments)
    name = write_folder(tmp_path / "folder", arch, made.state_dict(), model_args=arguments, **CONFIG)
    pixels = np.random.default_rng(0).normal(size=(3, 3, 160, 160)).astype(np.float32)
    with torch.no_grad():
        expected = {"logits": made(torch.tensor(pixels)).numpy()}
        made.reset_classifier(0)
        expected["pre"] = made(torch.tensor(pixels)).numpy()
    for layer, dim in layers.items():
        one, other = (registry.load_backbone(f"{name}@{layer}", runtime=runtime) for runtime in ("torch", "onnx"))
        assert (one.dim, other.dim) == (dim, dim)
        assert one.name == other.name == (name if layer == "pre" else f"{name}@{layer}")
        assert hub.difference(other.encode(pixels), one.encode(pixels)) < TOLERANCE
        if layer in expected:
            assert hub.difference(one.encode(pixels), expected[layer]) < 1e-5
    refused(f"{name}@proj", f"it has {', '.join(f'@{layer}' for layer in layers)}$")


def test_a_model_that_takes_images_of_any_size_cannot_be_exported_but_runs(tmp_path: Path) -> None:
    name = write_folder(tmp_path / "folder", "test_vit", model().state_dict(), **CONFIG)
    assert isinstance(registry.load_backbone(name), TorchBackbone)


def test_eva_gives_the_class_token_of_every_block(tmp_path: Path) -> None:
    arguments = {"embed_dim": 64, "depth": 3, "num_heads": 2, "img_size": 112}
    made = model("eva02_tiny_patch14_224", **arguments)
    name = write_folder(
        tmp_path / "folder",
        "eva02_tiny_patch14_224",
        made.state_dict(),
        model_args=arguments,
        num_classes=0,
        input_size=[3, 112, 112],
        fixed_input_size=True,
    )
    pixels = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    with torch.no_grad():
        given = made.forward_intermediates(torch.tensor(pixels), return_prefix_tokens=True, intermediates_only=True)
    expected = torch.cat([tokens[:, 0] for _, tokens in given], dim=1).numpy()
    for runtime in ("torch", "onnx"):
        found = registry.load_backbone(f"{name}@blocks", runtime=runtime).encode(pixels)
        assert hub.difference(found, expected) < TOLERANCE


def test_a_model_without_a_classifier_has_no_logits(tmp_path: Path) -> None:
    state = model(num_classes=0).state_dict()
    name = write_folder(tmp_path / "folder", "test_vit", state, **CONFIG | {"num_classes": 0})
    refused(f"{name}@logits", "has no layer @logits; it has @pre, @blocks$")
    assert not isinstance(registry.load_backbone(name), TextBackbone)


def test_a_folder_brings_its_preprocessing(tmp_path: Path) -> None:
    config = CONFIG | {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "interpolation": "bilinear"}
    backbone = registry.load_backbone(write_folder(tmp_path / "folder", "test_vit", model().state_dict(), **config))
    assert backbone.preprocessing.model_dump() == {
        "version": 2,
        "resize": 168,  # 160 / 0.95 = 168.4
        "crop": 160,
        "interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.1),
    }


def test_the_hash_is_of_the_weights_and_not_of_the_file(tmp_path: Path) -> None:
    state = model().state_dict()

    def weights(folder: str, state: State, arch: str = "test_vit", save: Any = save_file) -> str:
        name = write_folder(tmp_path / folder, arch, None, **CONFIG)
        save(state, tmp_path / folder / ("model.safetensors" if save is save_file else "pytorch_model.bin"))
        return registry.load_backbone(name, runtime="torch").weights

    first = weights("safetensors", state)
    assert len(first) == 16
    assert weights("pickled", {"state_dict": dict(reversed(state.items()))}, save=torch.save) == first  # type: ignore[dict-item]
    assert weights("other", state | {"head.bias": state["head.bias"] + 1}) != first


def test_a_repository_of_the_hub_is_loaded(tiny_hub: Path, tmp_path: Path) -> None:
    state = model().state_dict()
    folder = write_folder(tmp_path / "folder", "test_vit", state, **CONFIG)
    hub.put(tiny_hub, "somebody/vit", "model.safetensors", state)
    (snapshot,) = tiny_hub.glob("models--somebody--vit/snapshots/*")
    (snapshot / "config.json").write_text((tmp_path / "folder" / "config.json").read_text())
    pixels = np.random.default_rng(0).normal(size=(2, 3, 160, 160)).astype(np.float32)
    one, other = (registry.load_backbone(name, runtime="torch") for name in (folder, "timm:hf-hub:somebody/vit"))
    np.testing.assert_array_equal(one.encode(pixels), other.encode(pixels))
    assert one.weights == other.weights


# What is refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "timm has no weights for 'resnet5', and there is no such folder; did you mean .*timm:resnet50"),
        ("resnet50.tv_in2k", "no weights for 'resnet50.tv_in2k'.*did you mean timm:resnet50.tv_in1k"),
        ("vit_base_patch32_224.no-such", "did you mean .*timm:vit_base_patch32_224"),
        ("", "no weights for '', and there is no such folder$"),
        ("nowhere/folder", "no weights for 'nowhere/folder', and there is no such folder$"),
        ("other-hub:x/y", "no weights for 'other-hub:x/y'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    refused(f"timm:{name}", message)


def test_a_model_without_weights_is_not_filled_with_random_ones() -> None:
    without = set(timm.list_models()) - {name.partition(".")[0] for name in timm.list_pretrained()}
    refused(f"timm:{min(without)}", "timm has no weights for")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: drop(state, "norm.bias"), r"Missing key\(s\) in state_dict: \"norm.bias\""),
        (lambda state: state | {"more": torch.ones(3)}, r"Unexpected key\(s\) in state_dict: \"more\""),
        (lambda state: state | {"norm.bias": torch.ones(63)}, "size mismatch for norm.bias"),
        (lambda state: state | {"head.weight": torch.ones(10, 64)}, "size mismatch for head.weight"),
        (lambda _: {}, "cannot be loaded"),
    ],
    ids=["missing", "unexpected", "shape", "classes", "nothing"],
)
def test_weights_that_do_not_fit_are_refused(change: Callable[[State], State], message: str, tmp_path: Path) -> None:
    state = change(model().state_dict())
    refused(write_folder(tmp_path / "folder", "test_vit", state, **CONFIG), message)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    name = write_folder(tmp_path / "folder", "test_vit", None, **CONFIG)
    torch.save(model().state_dict() | {"x": hub.Harmful(tmp_path / "mark")}, tmp_path / "folder" / "pytorch_model.bin")
    refused(name, "the checkpoint contains code, which is not run")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", bytes(range(256)) * 9])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_that_holds_no_weights_is_refused(content: bytes, file: str, tmp_path: Path) -> None:
    name = write_folder(tmp_path / "folder", "test_vit", None, **CONFIG)
    (tmp_path / "folder" / file).write_bytes(content)
    refused(name, "cannot be loaded|contains code")


@pytest.mark.parametrize(
    "change",
    [
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"interpolation": "lanczos"},
        {"interpolation": "random"},
        {"input_size": [3, 160, 128]},
    ],
    ids=str,
)
def test_preprocessing_that_cannot_be_made_here_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    name = write_folder(tmp_path / "folder", "test_resnet", model("test_resnet").state_dict(), **CONFIG | change)
    refused(name, "supported are colour images cropped to a centre square")


def test_a_model_that_wants_grey_is_refused(tmp_path: Path) -> None:
    state = model("test_resnet", in_chans=1).state_dict()
    config = CONFIG | {"model_args": {"in_chans": 1}, "mean": [0.5], "std": [0.5]}
    refused(write_folder(tmp_path / "folder", "test_resnet", state, **config), "needs images of 1 x 160 x 160")


def test_a_model_that_gives_no_vector_is_refused(tmp_path: Path) -> None:
    state = model("test_resnet", global_pool="", num_classes=0).state_dict()
    config = CONFIG | {"num_classes": 0, "model_args": {"global_pool": "", "num_classes": 0}}
    refused(write_folder(tmp_path / "folder", "test_resnet", state, **config), "@pre returns .* not one vector each")
