"""Where models run: which device is chosen, and that features and images are those of the processor.

Without a CUDA or an Apple GPU, the tests that compare the two are skipped; see docs/accelerators.md.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch

from changeling.backbones import onnx, openclip, registry, timm, torch_model
from changeling.backbones.onnx import OnnxBackbone
from changeling.generators import reconstruction
from changeling.generators.families import load_generator
from tests import helpers
from tests.backbones import hub
from tests.generators.requests import RECONSTRUCTION, make_child

DEVICES = [
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"), id="cuda"
    ),
    pytest.param(
        "mps",
        marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU is here"),
        id="mps",
    ),
]
HAS_CUDA_PROVIDER = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "device"),
    [(True, False, "cuda"), (False, True, "mps"), (True, True, "cuda"), (False, False, "cpu")],
)
def test_a_gpu_is_chosen_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, has_mps: bool, device: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: has_mps)
    assert torch_model.default_device().type == device
    assert torch_model.has_gpu() == (device != "cpu")
    assert torch_model.uses_half_precision(torch_model.default_device()) == (device == "cuda")


def test_onnxruntime_uses_the_gpu_that_its_package_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert onnx.list_providers() == ["CPUExecutionProvider"]
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    assert onnx.list_providers() == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


@pytest.mark.skipif(not HAS_CUDA_PROVIDER, reason="the package onnxruntime-gpu is not installed")
def test_onnxruntime_has_the_same_features_on_a_gpu(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).normal(size=(4, 3, helpers.SIDE, helpers.SIDE)).astype(np.float32)
    on_gpu = OnnxBackbone(tiny_onnx, "tiny")
    assert on_gpu._session.get_providers()[0] == "CUDAExecutionProvider"
    features = on_gpu.encode(pixels)
    monkeypatch.setattr(onnx, "list_providers", lambda: ["CPUExecutionProvider"])
    np.testing.assert_allclose(features, OnnxBackbone(tiny_onnx, "tiny").encode(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("tiny_hub")
@pytest.mark.parametrize("alias", ["rn50-imagenet", "clip-vit-b32"])
@pytest.mark.parametrize("device", DEVICES)
def test_torch_has_the_same_features_on_a_gpu(device: str, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features = {}
    for name in ("cpu", device):
        for module in (openclip, timm):
            monkeypatch.setattr(module, "default_device", partial(torch.device, name))
        backbone = registry.load_backbone(alias, runtime="torch")
        pixels = np.stack([backbone.preprocessing(photograph) for photograph in hub.photographs()])
        features[name] = backbone.encode(pixels)
    tolerance = 1e-2 if torch_model.uses_half_precision(torch.device(device)) else 1e-3
    assert hub.difference(features[device], features["cpu"]) < tolerance


@pytest.mark.parametrize("device", ["cpu", *DEVICES])
def test_an_autoencoder_reconstructs_the_same_image_on_a_gpu(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    widths = {f"{half}_block_out_channels": (8, 8) for half in ("encoder", "decoder")}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    diffusers.AutoencoderTiny(latent_channels=4, **widths, **blocks).save_pretrained(tmp_path / "tiny")
    helpers.natural(1, 48).save(tmp_path / "parent.png")
    images = []
    for name in ("cpu", device):
        monkeypatch.setattr(reconstruction, "default_device", partial(torch.device, name))
        generator = load_generator(RECONSTRUCTION.model_copy(update={"model": "tiny"}), tmp_path)
        assert isinstance(generator, reconstruction.Reconstruction)
        assert generator._model.device.type == name
        (image,) = generator.draw([make_child(0, tmp_path / "parent.png")], [0])
        images.append(np.asarray(image, np.int64))
    assert np.ptp(images[0]) > 10
    assert np.abs(images[1] - images[0]).max() <= 1
