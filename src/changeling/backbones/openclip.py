"""Backbones of open_clip: any of its architectures, with the weights of a tag, a file, a folder or a hub repository."""

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

from changeling.backbones.timm import blocks_with_class_token
from changeling.backbones.towers import Floats, Model, class_tokens, device, loading, near, precision, weights_hash
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing

_CAPTIONS = 256  # at a time


def load(model: str, name: str) -> Model:
    """Load `ARCH/TAG`, `ARCH/FILE`, `FOLDER` (with open_clip_config.json) or `hf-hub:ORG/NAME`; errors call it `name`.

    Raises:
        BackboneError: no such model, or the weights do not fit it.
        WeightsError: the weights cannot be fetched.
    """
    source, weights = _source(model, name)
    with loading(name, hub=not Path(weights or source.removeprefix("local-dir:")).exists()):
        config = open_clip.get_model_config(source)
        if config.get("text_cfg", {}).get("tokenizer_kwargs", {}).get("trust_remote_code"):
            raise BackboneError(f"{name}: its tokenizer wants to run code, which is not done")
        _fetch(source, weights)
        # it would stretch position embeddings to another image size or text length; left alone, they do not fit
        with patch.multiple(open_clip.factory, resize_pos_embed=_leave, resize_text_pos_embed=_leave):
            made = open_clip.create_model(source, weights, device=device(), require_pretrained=True, weights_only=True)
        made.eval()
        preprocessing = _preprocessing(open_clip.get_model_preprocess_cfg(made), name)
        hashed = weights_hash(made, json.dumps(config, sort_keys=True))
        tower = _tower(made.visual).eval()
        del made.visual  # what stays is the text tower
    return Model(tower, hashed, preprocessing, _Texts(made, source, name))


def _source(model: str, name: str) -> tuple[str, str | None]:
    """The model and the weights as open_clip calls them."""
    if model.startswith("hf-hub:"):
        return model, None
    if model and Path(model).is_dir():
        return f"local-dir:{model}", None
    arch, _, weights = model.partition("/")
    fitting = [(has, tag) for has, tag in open_clip.list_pretrained() if _right_arch(has, tag) == has]
    if arch not in open_clip.list_models():
        found = near(model, [f"{has}/{tag}" for has, tag in fitting], "open_clip:")
        raise BackboneError(f"open_clip has no architecture {arch!r}, and {model!r} is no folder{found}")
    tags = [tag for has, tag in fitting if has == arch]
    if not weights:
        such = ", ".join(f"open_clip:{arch}/{tag}" for tag in (tags or ["FILE"])[:5])
        raise BackboneError(f"{name}: name its weights, such as {such}")
    right = _right_arch(arch, weights)
    if right != arch:
        how = "with" if right.endswith("-quickgelu") else "without"
        raise BackboneError(f"{name}: its weights were trained {how} QuickGELU; use open_clip:{right}/{weights}")
    if not open_clip.is_pretrained_cfg(arch, weights) and not Path(weights).is_file():
        found = near(weights, tags, f"open_clip:{arch}/")
        raise BackboneError(f"{name}: {weights!r} is neither a tag of {arch} nor a file{found}")
    return arch, weights


def _right_arch(arch: str, tag: str) -> str:
    """`arch`, with QuickGELU if the tag's weights were trained with it, and without if not. open_clip only warns."""
    plain = arch.removesuffix("-quickgelu")
    trained = open_clip.get_pretrained_cfg(arch, tag) or open_clip.get_pretrained_cfg(plain, tag)
    quick = trained.get("quick_gelu", False)
    if not trained or quick == open_clip.get_model_config(arch).get("quick_gelu", False):
        return arch
    return f"{plain}-quickgelu" if quick else plain


def _fetch(source: str, weights: str | None) -> None:
    """Have open_clip fetch what it will load: here it says what goes wrong on the way, later it does not."""
    if weights:
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(source, weights))  # of a file: nothing
    elif source.startswith("hf-hub:"):
        download_pretrained_from_hf(source.removeprefix("hf-hub:"))


def _leave(*_: object) -> None:
    """Leave position embeddings as they are."""


def _preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """open_clip's preprocessing as ours."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if height != width or mode != "shortest" or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(
            f"{name} wants images of {height} x {width} by {mode!r} and {interpolation!r}; "
            "only squares cut from the middle ('shortest'), bicubic or bilinear, can be made here"
        )
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocessing(version=2, resize=height, crop=height, interpolation=interpolation, mean=mean, std=std)


def _tower(visual: nn.Module) -> nn.Module:
    if isinstance(visual, ModifiedResNet):
        return _ResNet(visual)
    if isinstance(visual, VisionTransformer):
        return _Transformer(visual)
    return _Timm(visual)


class _Transformer(nn.Module):
    """A vision transformer: "proj"; "pre", pooled and normalised; "blocks", the class token after each."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual
        self.projection, visual.proj = visual.proj, None  # without it, the module gives what it would project

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        with class_tokens(self.visual.transformer.resblocks) as tokens:
            pre = self.visual(pixels)
        pre = pre[0] if self.visual.output_tokens else pre
        return {"proj": pre @ self.projection, "pre": pre, "blocks": torch.cat(tokens, dim=1)}


class _ResNet(nn.Module):
    """CLIP's ResNet: "proj"; "pre", what the attention pool attends to, all heads, before its output projection.

    The pool's own module computes that for every place of the image and keeps one; here one is computed.
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
        with class_tokens(blocks_with_class_token(self.visual.trunk)) as tokens:
            pre = self.visual.trunk(pixels)
        layers = {"proj": self.visual.head(pre)}
        if len(self.visual.head) and pre.ndim == 2:
            layers["pre"] = pre
        return layers | ({"blocks": torch.cat(tokens, dim=1)} if tokens else {})


class _Texts:
    """Captions through the model's text tower, by its own tokenizer, without a prompt template."""

    def __init__(self, model: Any, source: str, name: str) -> None:
        self._model, self._source, self._name = model, source, name

    @cached_property
    def _tokenizer(self) -> Any:
        with loading(f"the tokenizer of {self._name}", hub=True):
            return open_clip.get_tokenizer(self._source)

    def __call__(self, captions: Sequence[str]) -> Floats:
        place = next(self._model.parameters()).device
        parts = []
        for start in range(0, len(captions), _CAPTIONS):
            tokens = self._tokenizer(list(captions[start : start + _CAPTIONS])).to(place)
            with torch.inference_mode(), precision(place):
                parts.append(self._model.encode_text(tokens, normalize=False).float().cpu().numpy())
        return np.concatenate(parts)
