"""The paper's six backbones, tiny: models of the same classes, their weights in a Hugging Face cache on disk.

The libraries look up the same names and tags, find the files in the cache as they would after a download, and build the
same classes; only the sizes are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from timm.models import _registry, resnet, vision_transformer
from torch import Tensor, nn

from changeling.backbones import registry
from changeling.errors import BackboneError, ChangelingError

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TRANSFORMER = {"image_size": 224, "patch_size": 32, "width": 64, "head_width": 32, "layers": 3}
RESNET = {"image_size": 224, "width": 16, "head_width": 64, "layers": [1, 2, 1, 1]}
CONFIGS = {
    "RN50": {"embed_dim": 48, "vision_cfg": RESNET, "text_cfg": TEXT},
    "RN50-quickgelu": {"embed_dim": 48, "quick_gelu": True, "vision_cfg": RESNET, "text_cfg": TEXT},
    "ViT-B-32": {"embed_dim": 48, "vision_cfg": TRANSFORMER, "text_cfg": TEXT},
    "ViT-B-32-quickgelu": {"embed_dim": 48, "quick_gelu": True, "vision_cfg": TRANSFORMER, "text_cfg": TEXT},
}
IDS = {alias: entry.model for alias, entry in registry.ALIASES.items() if isinstance(entry.model, str)}
OPEN_CLIP = [alias for alias, model in IDS.items() if model.startswith("open_clip:")]
TIMM = [alias for alias, model in IDS.items() if model.startswith("timm:")]
_VIT = {"proj": 48, "pre": 64, "blocks": 3 * 64}
LAYERS = {
    "rn50-imagenet": {"pre": 256, "logits": 1000},
    "vit-b32-imagenet": {"pre": 64, "logits": 1000, "blocks": 3 * 64},
    "clip-rn50": {"proj": 48, "pre": 512},
    "clip-vit-b32": _VIT,
    "openclip-vit-b32-laion400m": _VIT,
    "openclip-vit-b32-laion2b": _VIT,
}


@contextmanager
def tiny_hub(folder: Path) -> Iterator[None]:
    """Make the libraries' models tiny and fill a hub's cache below `folder` with weights for the six aliases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        for arch, config in CONFIGS.items():
            patch.setitem(open_clip.factory._MODEL_CONFIGS, arch, config)
        patch.setitem(_registry._model_entrypoints, "resnet50", _tiny_resnet)
        patch.setitem(_registry._model_entrypoints, "vit_base_patch32_224", _tiny_transformer)
        for seed, alias in enumerate(IDS):
            model = fresh(alias, seed)
            if alias in OPEN_CLIP:
                arch, _, tag = IDS[alias].partition(":")[2].partition("/")
                repository = open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].strip("/")
                put(folder, repository, "open_clip_model.safetensors", model.state_dict())
            else:
                put(folder, model.pretrained_cfg["hf_hub_id"], "model.safetensors", model.state_dict())
        yield


def _tiny_resnet(pretrained: bool = False, **given: Any) -> nn.Module:
    sizes: dict[str, Any] = {"layers": (1, 2, 1, 1), "channels": (8, 16, 32, 64)}
    return resnet._create_resnet("resnet50", pretrained, block=resnet.Bottleneck, **sizes, **given)


def _tiny_transformer(pretrained: bool = False, **given: Any) -> nn.Module:
    sizes: dict[str, Any] = {"patch_size": 32, "embed_dim": 64, "depth": 3, "num_heads": 2}
    return vision_transformer._create_vision_transformer("vit_base_patch32_224", pretrained, **sizes, **given)


def fresh(alias: str, seed: int = 0) -> Any:
    """The alias's model as its library builds it, with random weights of which none is zero or one."""
    library, _, name = IDS[alias].partition(":")
    model = open_clip.create_model(name.partition("/")[0]) if library == "open_clip" else timm.create_model(name)
    return shaken(model, seed)


def shaken(model: Any, seed: int) -> Any:
    """Draw all weights anew: fresh norms and residual branches do nothing, and what does nothing tests nothing."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=draw)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.normal_(std=0.2, generator=draw)
            elif tensor.ndim > 1:
                tensor.normal_(std=tensor[0].numel() ** -0.5, generator=draw)
    return model.eval()


def put(folder: Path, repository: str, file: str, state: dict[str, Tensor]) -> None:
    """Lay a file where huggingface_hub keeps what it has downloaded."""
    where = folder / f"models--{repository.replace('/', '--')}"
    snapshot = where / "snapshots" / ("0" * 40)
    (where / "refs").mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True, exist_ok=True)
    (where / "refs" / "main").write_text("0" * 40)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, snapshot / file)


def photographs() -> list[Image.Image]:
    """Real photographs, of a common size and of two odd ones."""
    temple, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    return [temple, flower.crop((3, 10, 404, 300)), temple.resize((250, 401))]


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference as a part of the largest value."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.abs(other).max())


def refused(name: str, message: str, kind: type[ChangelingError] = BackboneError) -> None:
    """Loading fails in one line."""
    with pytest.raises(kind, match=message) as caught:
        registry.load_backbone(name)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def drop(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


class Harmful:
    """A pickle that leaves a mark when its code is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)
