"""The paper's six backbones on both runtimes, against open_clip's and timm's own models and transforms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import timm
import torch
from numpy.typing import NDArray
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from changeling.backbones import onnx_export, registry, torch_model
from changeling.backbones import timm as timm_backbones
from changeling.backbones.registry import Runtime, TextBackbone
from changeling.backbones.torch_backbone import TorchBackbone, open_backbone
from changeling.backbones.torch_model import TorchModel
from changeling.errors import BackboneError, WeightsError
from changeling.images.transforms import CLIP
from tests.backbones import hub
from tests.hostile import picture

pytestmark = pytest.mark.usefixtures("tiny_hub")
six = pytest.mark.parametrize("alias", hub.IDS)
SIZES = [(640, 480), (480, 640), (224, 224), (225, 224), (333, 250), (1023, 333), (100, 37), (31, 33), (500, 375)]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def kept_exports(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that only look at features share what is exported."""
    monkeypatch.setenv("CHANGELING_CACHE", str(exports))


def library(alias: str) -> tuple[Any, Any]:
    """The library's own model and transform."""
    name, _, model = hub.IDS[alias].partition(":")
    if name == "open_clip":
        own, transform = open_clip.create_model_from_pretrained(*model.split("/"))
        return own, transform
    made = timm.create_model(model, pretrained=True)
    config = resolve_model_data_config(made)  # type: ignore[no-untyped-call]
    return made, create_transform(**config, is_training=False)


def library_features(alias: str, model: Any, pixels: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """All layers, by ways that the library offers, other than those that are tested."""
    model.eval()
    with torch.no_grad():
        if alias in hub.TIMM:
            layers = {"logits": model(pixels)}
            model.reset_classifier(0)
            layers["pre"] = model(pixels)
            if "vit" in alias:
                given = model.forward_intermediates(pixels, return_prefix_tokens=True, intermediates_only=True)
                layers["blocks"] = torch.cat([tokens[:, 0] for _, tokens in given], dim=1)
        else:
            layers = {"proj": model.encode_image(pixels)}
            if "vit" in alias:
                given = model.visual.forward_intermediates(pixels, output_extra_tokens=True)
                layers["blocks"] = torch.cat([tokens[:, 0] for tokens in given["image_intermediates_prefix"]], dim=1)
                model.visual.proj = nn.Parameter(torch.eye(64))
            else:
                model.visual.attnpool.c_proj = nn.Linear(512, 512)
                nn.init.eye_(model.visual.attnpool.c_proj.weight)
                nn.init.zeros_(model.visual.attnpool.c_proj.bias)
            layers["pre"] = model.encode_image(pixels)
    return {layer: features.numpy() for layer, features in layers.items()}


@pytest.mark.usefixtures("kept_exports")
@six
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_features_are_the_librarys_own(alias: str, runtime: Runtime) -> None:
    model, transform = library(alias)
    photographs = hub.photographs()
    expected = library_features(alias, model, torch.stack([transform(photograph) for photograph in photographs]))
    assert expected.keys() == hub.LAYERS[alias].keys()
    for layer, wanted in expected.items():
        backbone = registry.load_backbone(f"{alias}@{layer}", runtime=runtime)
        found = backbone.encode(np.stack([backbone.preprocessing(photograph) for photograph in photographs]))
        assert hub.difference(found, wanted) < 1e-5
        apart = np.ptp(wanted, axis=0).max() / np.abs(wanted).max()
        assert apart > 1e-2  # of one photograph from another


@six
def test_pixels_are_the_librarys_own_to_the_bit(alias: str) -> None:
    _, transform = library(alias)
    preprocessing = registry.load_backbone(alias, runtime="torch").preprocessing
    for seed, size in enumerate(SIZES):
        image = picture(size, seed)
        np.testing.assert_array_equal(preprocessing(image), transform(image).numpy(), err_msg=str(size))


def test_clips_pixels_are_ours_but_for_the_length_of_the_long_side() -> None:
    preprocessing = registry.load_backbone("clip-vit-b32", runtime="torch").preprocessing
    assert preprocessing == CLIP.model_copy(update={"version": 2})
    square, wide = picture((300, 300)), picture((640, 480))  # 640 / 480 * 224 = 298.67
    np.testing.assert_array_equal(CLIP(square), preprocessing(square))
    assert not np.array_equal(CLIP(wide), preprocessing(wide))


@pytest.mark.usefixtures("kept_exports")
@six
def test_the_runtimes_are_of_one_name(alias: str) -> None:
    one, other = (registry.load_backbone(f"{alias}@pre", runtime=runtime) for runtime in ("torch", "onnx"))
    assert (one.name, one.weights, one.preprocessing) == (other.name, other.weights, other.preprocessing)


def test_on_a_processor_it_is_onnx_and_on_a_gpu_it_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_backbones, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert not isinstance(registry.load_backbone("rn50-imagenet"), TorchBackbone)
    for gpu in ("torch.cuda.is_available", "torch.backends.mps.is_available"):
        with monkeypatch.context() as patched:
            patched.setattr(gpu, lambda: True)
            assert isinstance(registry.load_backbone("rn50-imagenet"), TorchBackbone)


@six
def test_half_precision_is_close(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([CLIP(photograph) for photograph in hub.photographs()])
    backbone = registry.load_backbone(alias, runtime="torch")
    single = backbone.encode(pixels)
    monkeypatch.setattr(torch_model, "uses_half_precision", lambda _: True)
    half = backbone.encode(pixels)
    assert registry.load_backbone(alias, runtime="torch").weights == f"{backbone.weights}-half"  # not to be mixed
    assert half.dtype == np.float32
    assert 0 < hub.difference(half, single) < 1e-2
    cosines = (half * single).sum(axis=1) / np.linalg.norm(half, axis=1) / np.linalg.norm(single, axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip-rn50@blocks", "clip-rn50 has no layer @blocks; it has @proj, @pre$"),
        ("rn50-imagenet@proj", "rn50-imagenet has no layer @proj; it has @pre, @logits$"),
        ("clip-vit-b32@logits", "has no layer @logits; it has @proj, @pre, @blocks$"),
    ],
)
def test_a_layer_that_is_not_there_is_named_beside_those_that_are(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        registry.load_backbone(name)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("shape", [(1, 1, 224, 224), (1, 3, 200, 224)])
def test_pixels_of_the_wrong_shape_are_refused(runtime: Runtime, shape: tuple[int, ...]) -> None:
    backbone = registry.load_backbone("vit-b32-imagenet", runtime=runtime)
    with pytest.raises(BackboneError, match="does not take images of") as caught:
        backbone.encode(np.zeros(shape, np.float32))
    assert "\n" not in str(caught.value)


def test_what_overflows_in_half_precision_is_encoded_in_single(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = registry.load_backbone("rn50-imagenet", runtime="torch")
    pixels = np.full((1, 3, 224, 224), 1e5, np.float32)  # half precision ends at 65504
    single = backbone.encode(pixels)
    monkeypatch.setattr(torch_model, "uses_half_precision", lambda _: True)
    np.testing.assert_array_equal(backbone.encode(pixels), single)


def test_features_that_overflow_are_refused() -> None:
    backbone = registry.load_backbone("rn50-imagenet", runtime="torch")
    with pytest.raises(BackboneError, match="rn50-imagenet overflows: its features are not all finite"):
        backbone.encode(np.full((1, 3, 224, 224), 3e38, np.float32))


def test_read_only_pixels_are_taken() -> None:
    pixels = np.zeros((1, 3, 224, 224), np.float32)
    pixels.flags.writeable = False
    assert registry.load_backbone("rn50-imagenet", runtime="torch").encode(pixels).shape == (1, 256)


def test_the_export_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    first = registry.load_backbone("clip-vit-b32", lambda *now: calls.append(now))
    assert [(what, done == total) for what, done, total in calls] == [
        ("exporting clip-vit-b32", False),
        ("exporting clip-vit-b32", True),
    ]
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: pytest.fail("exported again"))
    second = registry.load_backbone("clip-vit-b32@pre")
    assert (first.name, second.name, first.weights) == ("clip-vit-b32", "clip-vit-b32@pre", second.weights)
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name == f"clip-vit-b32-{first.weights}-{first.preprocessing.hash}.onnx"


def test_an_export_that_differs_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", 1e-12)
    with pytest.raises(BackboneError, match=r"rn50-imagenet cannot be .*: it differs from PyTorch at @\w+ by"):
        registry.load_backbone("rn50-imagenet", runtime="onnx")
    assert isinstance(registry.load_backbone("rn50-imagenet"), TorchBackbone)
    assert not list((tmp_path / "cache").iterdir())


class Fixed(nn.Module):
    """What the tracer cannot follow: the size of its output is that of the first batch that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = [pixels[index].mean(dim=(1, 2)) for index in range(int(pixels.shape[0]))]
        return {"pre": self.weight * torch.stack(rows)}


def test_an_export_that_fits_one_size_of_batch_is_refused() -> None:
    model = TorchModel(Fixed(), "0", CLIP)
    with pytest.raises(BackboneError, match="fixed cannot be exported to ONNX: it differs from PyTorch at @pre by inf"):
        open_backbone(model, "fixed", "", "onnx", lambda *_: None)
    assert open_backbone(model, "fixed", "", "torch", lambda *_: None).dim == 3


class Exotic(Fixed):
    """What the exporter has no operator for."""

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        small = nn.functional.interpolate(pixels, scale_factor=0.5, mode="bicubic", antialias=True)
        return {"pre": self.weight * small.mean(dim=(2, 3))}


def test_what_cannot_be_exported_runs_on_torch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = TorchModel(Exotic(), "0", CLIP)
    assert isinstance(open_backbone(model, "exotic", "", "auto", lambda *_: None), TorchBackbone)
    with pytest.raises(BackboneError, match="exotic cannot be exported to ONNX: Exporting the operator") as caught:
        open_backbone(model, "exotic", "", "onnx", lambda *_: None)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.glob("cache/*"))


def test_what_is_too_large_for_a_file_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_MAX_BYTES", 10_000)
    assert isinstance(registry.load_backbone("rn50-imagenet"), TorchBackbone)
    with pytest.raises(BackboneError, match="rn50-imagenet is too large for an ONNX file"):
        registry.load_backbone("rn50-imagenet", runtime="onnx")


def test_only_what_has_a_text_tower_encodes_captions() -> None:
    with_texts = {
        alias for alias in hub.IDS if isinstance(registry.load_backbone(alias, runtime="torch"), TextBackbone)
    }
    assert with_texts == set(hub.OPEN_CLIP)
    assert not isinstance(registry.load_backbone("clip-rn50@pre", runtime="torch"), TextBackbone)  # another space


def test_the_registry_does_not_import_torch() -> None:
    script = (
        "import sys, changeling.backbones.registry\nsys.exit(bool({'torch', 'timm', 'open_clip'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("missing", ["torch", "open_clip"])
def test_without_the_libraries_the_error_says_what_to_install(missing: str) -> None:
    assert "clip-vit-b32 needs PyTorch: pip install 'changeling[torch]'" in said_of("clip-vit-b32", missing)


def said_of(name: str, missing: str) -> str:
    """The one line that a process without a library says of a backbone that cannot be loaded."""
    script = f"""
import sys
from changeling.backbones import registry
from changeling.errors import BackboneError
sys.modules[{missing!r}] = None
try:
    registry.load_backbone({name!r})
except BackboneError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return line


FILES = {"open_clip": "open_clip_config.json", "timm": "config.json"}


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("open_clip", {"model_cfg": hub.CONFIGS["ViT-B-32"]}, "Required pretrained weights .* could not be loaded"),
        ("timm", {"architecture": "test_vit"}, "No suitable checkpoints found"),
    ],
)
def test_a_folder_without_weights_is_not_filled_with_random_ones(
    family: str, config: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILES[family]).write_text(json.dumps(config))
    hub.refused(f"{family}:{tmp_path}", f"^{family}:{tmp_path} cannot be loaded: (?!.*local-dir:).*{message}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"model_cfg": {}}', '{"architecture": "no-such"}'])
def test_a_folder_without_a_proper_configuration_is_refused(family: str, content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILES[family]).write_text(content)
    hub.refused(f"{family}:{tmp_path}", f"^{family}:{tmp_path} cannot be loaded: (?!.*local-dir:)")


@pytest.mark.parametrize(
    "model", [*hub.IDS, "open_clip:hf-hub:nobody/nothing", "timm:resnet18", "timm:hf-hub:nobody/no"]
)
def test_without_a_network_the_error_says_what_works(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    hub.refused(model, f"^cannot fetch the weights of {model}: .*a checkpoint on disk", WeightsError)


@pytest.mark.parametrize("model", ["open_clip:hf-hub:nobody/nothing", "timm:resnet18", "timm:hf-hub:nobody/no"])
def test_an_unreachable_hub_is_asked_once_and_then_only_the_cache_is_used(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")  # nothing listens there
    hub.refused(model, f"^cannot fetch the weights of {model}: there is no way to http://127.0.0.1:1 .*", WeightsError)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_weights_in_the_cache_are_loaded_while_the_hub_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert registry.load_backbone(hub.TIMM[0], runtime="torch").dim == hub.LAYERS[hub.TIMM[0]]["pre"]
