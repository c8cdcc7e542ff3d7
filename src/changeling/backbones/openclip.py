"""Backbones of open_clip: any of its architectures, with the weights of a tag, a file, a folder or a hub repository."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import download_pretrained_from_hf
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from changeling.backbones.timm import blocks_with_class_token
from changeling.backbones.towers import Floats, Model, class_tokens, device, loading, precision, weights_hash
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing

_CAPTIONS = 256  # at a time


def load(name: str) -> Model:
    """Load `ARCH/TAG`, `ARCH/FILE`, `FOLDER` (with an open_clip_config.json) or `hf-hub:ORG/NAME`.

    Raises:
        BackboneError: no such model, or the weights do not fit it.
        WeightsError: the weights cannot be fetched.
    """
    source, weights = _source(name)
    with loading(f"open_clip:{name}", hub=not Path(weights or source.removeprefix("local-dir:")).exists()):
        _fetch(source, weights)
        model = open_clip.create_model(source, weights, device=device(), require_pretrained=True, weights_only=True)
        if weights and Path(weights).is_file():
            _check_shapes(model, weights, name)
        architecture = json.dumps(open_clip.get_model_config(source), sort_keys=True)
        preprocessing = _preprocessing(open_clip.get_model_preprocess_cfg(model), name)
    model.eval()
    hashed = weights_hash(model, architecture)
    tower = _tower(model.visual).eval()
    del model.visual  # what stays is the text tower
    return Model(tower, hashed, preprocessing, _Texts(model, source))


def _source(name: str) -> tuple[str, str | None]:
    """The model and the weights as open_clip calls them."""
    if name.startswith("hf-hub:"):
        return name, None
    if name and Path(name).is_dir():
        return f"local-dir:{name}", None
    arch, _, weights = name.partition("/")
    if arch not in open_clip.list_models():
        known = [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
        raise BackboneError(f"open_clip has no architecture {arch!r}, and {name!r} is no folder{_near(name, known)}")
    _check_activation(arch, weights)
    if not open_clip.is_pretrained_cfg(arch, weights) and not Path(weights).is_file():
        known = [f"{arch}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(arch)]
        raise BackboneError(f"open_clip:{name}: {weights!r} is neither a tag of {arch} nor a file{_near(name, known)}")
    return arch, weights


def _near(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=5, cutoff=0) if known else []
    return "; near: " + ", ".join(f"open_clip:{near}" for near in found) if found else ""


def _check_activation(arch: str, tag: str) -> None:
    """Refuse weights that were trained with QuickGELU in a model without, and the reverse. open_clip only warns."""
    plain = arch.removesuffix("-quickgelu")
    trained = open_clip.get_pretrained_cfg(arch, tag) or open_clip.get_pretrained_cfg(plain, tag)
    quick = bool(trained.get("quick_gelu", False))
    if trained and quick != bool(open_clip.get_model_config(arch).get("quick_gelu", False)):
        right = f"{plain}-quickgelu" if quick else plain
        raise BackboneError(
            f"open_clip:{arch}/{tag}: these weights were trained with{'' if quick else 'out'} QuickGELU; "
            f"use open_clip:{right}/{tag}"
        )


def _fetch(source: str, weights: str | None) -> None:
    """Have open_clip fetch what it will load: here it says what goes wrong on the way, later it does not."""
    if weights:
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(source, weights))  # of a file: nothing
    elif source.startswith("hf-hub:"):
        for file in ("open_clip_config.json", None):
            download_pretrained_from_hf(source.removeprefix("hf-hub:"), filename=file)


def _check_shapes(model: nn.Module, file: str, name: str) -> None:
    """Refuse a file for another image size or text length: open_clip would stretch its position embeddings."""
    own = model.state_dict()
    for key, tensor in open_clip.factory.load_state_dict(file).items():
        if key in own and tensor.numel() != own[key].numel():
            raise BackboneError(
                f"open_clip:{name}: the file's {key} is of {tuple(tensor.shape)}, the architecture's of "
                f"{tuple(own[key].shape)}; name the architecture that the file was made with"
            )


def _preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """open_clip's preprocessing as ours."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if height != width or mode != "shortest" or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(
            f"open_clip:{name} wants images of {height} x {width} by {mode!r} and {interpolation!r}; "
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

    def __init__(self, model: Any, source: str) -> None:
        self._model, self._source = model, source

    @cached_property
    def _tokenizer(self) -> Any:
        with loading(f"the tokenizer of open_clip:{self._source}", hub=True):
            return open_clip.get_tokenizer(self._source)

    def __call__(self, captions: Sequence[str]) -> Floats:
        place = next(self._model.parameters()).device
        parts = []
        for start in range(0, len(captions), _CAPTIONS):
            tokens = self._tokenizer(list(captions[start : start + _CAPTIONS])).to(place)
            with torch.inference_mode(), precision(place):
                parts.append(self._model.encode_text(tokens, normalize=False).float().cpu().numpy())
        return np.concatenate(parts)
