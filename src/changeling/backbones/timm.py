"""Backbones of timm: any of its pre-trained models, or one in a folder or a hub repository."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from changeling.backbones.towers import Model, class_tokens, device, loading, near, weights_hash
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing


def load(model: str, name: str) -> Model:
    """Load a model by timm's NAME, `FOLDER` (with a config.json) or `hf-hub:ORG/NAME`; errors call it `name`.

    Raises:
        BackboneError: no such model, or the weights do not fit it.
        WeightsError: the weights cannot be fetched.
    """
    source = _source(model)
    with loading(name, hub=not source.startswith("local-dir:")):
        made: Any = timm.create_model(source, pretrained=True)
        config = {key: made.pretrained_cfg.get(key) for key in ("architecture", "num_classes", "global_pool")}
        config["arguments"] = getattr(made, "pretrained_model_args", {})
        preprocessing = _preprocessing(resolve_model_data_config(made), name)  # type: ignore[no-untyped-call]
        hashed = weights_hash(made, json.dumps(config, sort_keys=True, default=str))
        return Model(_Tower(made).eval().to(device()), hashed, preprocessing)


def blocks_with_class_token(model: nn.Module) -> Sequence[nn.Module]:
    """The blocks of a vision transformer whose first token is the class token; of any other model none."""
    if isinstance(model, VisionTransformer | Eva) and model.cls_token is not None:
        return list(model.blocks)
    return []


def _source(model: str) -> str:
    """The model as timm calls it."""
    if model.startswith("hf-hub:") or timm.is_model_pretrained(model):
        return model
    if model and Path(model).is_dir():
        return f"local-dir:{model}"
    found = near(model, timm.list_pretrained(), "timm:")
    raise BackboneError(f"timm has no weights for {model!r}, and there is no such folder{found}")


def _preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """Timm's preprocessing for evaluation, as ours."""
    channels, height, width = config["input_size"]
    mode, interpolation = config["crop_mode"], config["interpolation"]
    if channels != 3 or height != width or mode != "center" or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(
            f"{name} wants images of {channels} x {height} x {width} by {mode!r} and {interpolation!r}; "
            "only squares in colour cut from the middle ('center'), bicubic or bilinear, can be made here"
        )
    return Preprocessing(
        version=2,
        resize=math.floor(height / config["crop_pct"]),
        crop=height,
        interpolation=interpolation,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


class _Tower(nn.Module):
    """A model of timm: "pre", pooled; "logits", if it classifies; "blocks" of a transformer with a class token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        with class_tokens(blocks_with_class_token(self.model)) as tokens:
            features = self.model.forward_features(pixels)
        layers = {"pre": self.model.forward_head(features, pre_logits=True)}
        if self.model.num_classes > 0:
            layers["logits"] = self.model.forward_head(features)
        return layers | ({"blocks": torch.cat(tokens, dim=1)} if tokens else {})
