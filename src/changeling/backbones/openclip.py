"""Backbones of open_clip: any of its architectures, with weights from a tag, a file, a folder or a hub repository."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import download_pretrained_from_hf
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from changeling.backbones.loading import convert_loading_errors, suggest_names
from changeling.backbones.timm import blocks_with_class_token
from changeling.backbones.torch_model import (
    Floats,
    TorchModel,
    autocast,
    collect_class_tokens,
    default_device,
    hash_weights,
)
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing

_CAPTION_BATCH = 256


def load_open_clip_model(model: str, name: str) -> TorchModel:
    """Load `ARCH/TAG`, `ARCH/FILE`, `FOLDER` (with open_clip_config.json) or `hf-hub:ORG/NAME`.

    Error messages call the model `name`.

    Raises:
        BackboneError: no such model, or the weights do not fit it.
        WeightsError: the weights cannot be fetched.
    """
    source, weights = _open_clip_name(model, name)
    with convert_loading_errors(name, may_fetch=not Path(weights or source.removeprefix("local-dir:")).exists()):
        config = open_clip.get_model_config(source)
        if config.get("text_cfg", {}).get("tokenizer_kwargs", {}).get("trust_remote_code"):
            raise BackboneError(f"{name}: its tokenizer needs to run code of the repository, which is not allowed")
        _fetch(source, weights)
        # open_clip would resize position embeddings for another image size or text length: let that fail instead
        with patch.multiple(open_clip.factory, resize_pos_embed=_do_nothing, resize_text_pos_embed=_do_nothing):
            clip_model = open_clip.create_model(
                source, weights, device=default_device(), require_pretrained=True, weights_only=True
            )
        clip_model.eval()
        preprocessing = _convert_preprocessing(open_clip.get_model_preprocess_cfg(clip_model), name)
        weights_hash = hash_weights(clip_model, json.dumps(config, sort_keys=True))
        network = _with_layers(clip_model.visual).eval()
        del clip_model.visual  # the text tower remains
    return TorchModel(network, weights_hash, preprocessing, _TextTower(clip_model, source, name))


def _open_clip_name(model: str, name: str) -> tuple[str, str | None]:
    """Convert the model to the name and the weights that open_clip takes. Raises BackboneError."""
    if model.startswith("hf-hub:"):
        return model, None
    if model and Path(model).is_dir():
        return f"local-dir:{model}", None
    arch, _, weights = model.partition("/")
    pretrained = [(known, tag) for known, tag in open_clip.list_pretrained() if _matching_arch(known, tag) == known]
    if arch not in open_clip.list_models():
        suggestion = suggest_names(model, [f"{known}/{tag}" for known, tag in pretrained], "open_clip:")
        raise BackboneError(f"open_clip has no architecture {arch!r}, and {model!r} is not a folder{suggestion}")
    tags = [tag for known, tag in pretrained if known == arch]
    if not weights:
        examples = ", ".join(f"open_clip:{arch}/{tag}" for tag in (tags or ["FILE"])[:5])
        raise BackboneError(f"{name}: the weights are not named; choose for example {examples}")
    matching = _matching_arch(arch, weights)
    if matching != arch:
        how = "with" if matching.endswith("-quickgelu") else "without"
        raise BackboneError(f"{name}: its weights were trained {how} QuickGELU; use open_clip:{matching}/{weights}")
    if not open_clip.is_pretrained_cfg(arch, weights) and not Path(weights).is_file():
        suggestion = suggest_names(weights, tags, f"open_clip:{arch}/")
        raise BackboneError(f"{name}: {weights!r} is neither a tag of {arch} nor a file{suggestion}")
    return arch, weights


def _matching_arch(arch: str, tag: str) -> str:
    """Return `arch` with QuickGELU if the tag's weights were trained with it, else without. open_clip only warns."""
    plain = arch.removesuffix("-quickgelu")
    trained = open_clip.get_pretrained_cfg(arch, tag) or open_clip.get_pretrained_cfg(plain, tag)
    quick = trained.get("quick_gelu", False)
    if not trained or quick == open_clip.get_model_config(arch).get("quick_gelu", False):
        return arch
    return f"{plain}-quickgelu" if quick else plain


def _fetch(source: str, weights: str | None) -> None:
    """Fetch what open_clip will load: its error messages are clear here, but not while it loads the model."""
    if weights:
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(source, weights))  # does nothing for a file
    elif source.startswith("hf-hub:"):
        download_pretrained_from_hf(source.removeprefix("hf-hub:"))


def _do_nothing(*_: object) -> None:
    """Replace a function that resizes position embeddings."""


def _convert_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """Convert open_clip's preprocessing. Raises BackboneError if it is not supported."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if height != width or mode != "shortest" or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(
            f"{name} needs images of {height} x {width} by {mode!r} and {interpolation!r}; "
            "supported are images cropped to a centre square ('shortest'), bicubic or bilinear"
        )
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocessing(version=2, resize=height, crop=height, interpolation=interpolation, mean=mean, std=std)


def _with_layers(visual: nn.Module) -> nn.Module:
    if isinstance(visual, ModifiedResNet):
        return _ResNet(visual)
    if isinstance(visual, VisionTransformer):
        return _Transformer(visual)
    return _Timm(visual)


class _Transformer(nn.Module):
    """A vision transformer: "proj"; "pre", pooled and normalised; "blocks", the class token after each block."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.projection = visual.proj
        visual.proj = None  # without it, the module returns the features before the projection

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        with collect_class_tokens(self.visual.transformer.resblocks) as tokens:
            pre = self.visual(pixels)
        pre = pre[0] if self.visual.output_tokens else pre
        return {"proj": pre @ self.projection, "pre": pre, "blocks": torch.cat(tokens, dim=1)}


class _ResNet(nn.Module):
    """CLIP's ResNet: "proj"; "pre", the output of all heads of the attention pool before its output projection.

    open_clip's module computes that for every position of the image and discards all but the first; this class
    computes the first alone.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        visual, pool = self.visual, self.visual.attnpool
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding
        query, key, value = (
            part.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
            for part in (pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x))
        )
        pre = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1)
        return {"proj": pool.c_proj(pre), "pre": pre}


class _Timm(nn.Module):
    """A timm model under open_clip's projection: "proj"; "pre" if there is a projection; "blocks" of a transformer."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        with collect_class_tokens(blocks_with_class_token(self.visual.trunk)) as tokens:
            pre = self.visual.trunk(pixels)
        layers = {"proj": self.visual.head(pre)}
        if len(self.visual.head) and pre.ndim == 2:
            layers["pre"] = pre
        return layers | ({"blocks": torch.cat(tokens, dim=1)} if tokens else {})


class _TextTower:
    """Encodes captions with the model's own tokenizer, without a prompt template."""

    def __init__(self, model: Any, source: str, name: str) -> None:
        self._model, self._source, self._name = model, source, name

    @cached_property
    def _tokenizer(self) -> Any:
        with convert_loading_errors(f"the tokenizer of {self._name}", may_fetch=True):
            return open_clip.get_tokenizer(self._source)

    def __call__(self, captions: Sequence[str]) -> Floats:
        device = next(self._model.parameters()).device
        batches = []
        for start in range(0, len(captions), _CAPTION_BATCH):
            tokens = self._tokenizer(list(captions[start : start + _CAPTION_BATCH])).to(device)
            with torch.inference_mode(), autocast(device):
                batches.append(self._model.encode_text(tokens, normalize=False).float().cpu().numpy())
        return np.concatenate(batches)
