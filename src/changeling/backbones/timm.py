"""Backbones of timm: any of its pre-trained models, or a model in a folder or a hub repository."""

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

from changeling.backbones.loading import convert_loading_errors, suggest_names
from changeling.backbones.torch_model import TorchModel, collect_class_tokens, default_device, hash_weights
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing


def load_timm_model(model: str, name: str) -> TorchModel:
    """Load a model by timm's NAME, `FOLDER` (with a config.json) or `hf-hub:ORG/NAME`; error messages use `name`.

    Raises:
        BackboneError: no such model, or the weights do not fit it.
        WeightsError: the weights cannot be fetched.
    """
    source = _timm_name(model)
    with convert_loading_errors(name, may_fetch=not source.startswith("local-dir:")):
        timm_model: Any = timm.create_model(source, pretrained=True)
        config = {key: timm_model.pretrained_cfg.get(key) for key in ("architecture", "num_classes", "global_pool")}
        config["arguments"] = getattr(timm_model, "pretrained_model_args", {})
        preprocessing = _convert_preprocessing(resolve_model_data_config(timm_model), name)  # type: ignore[no-untyped-call]
        weights = hash_weights(timm_model, json.dumps(config, sort_keys=True, default=str))
        return TorchModel(_LayerOutputs(timm_model).eval().to(default_device()), weights, preprocessing)


def blocks_with_class_token(model: nn.Module) -> Sequence[nn.Module]:
    """Return the blocks of a vision transformer whose first token is the class token; [] for other models."""
    if isinstance(model, VisionTransformer | Eva) and model.cls_token is not None:
        return list(model.blocks)
    return []


def _timm_name(model: str) -> str:
    """Convert the model to a name that timm takes. Raises BackboneError."""
    if model.startswith("hf-hub:") or timm.is_model_pretrained(model):
        return model
    if model and Path(model).is_dir():
        return f"local-dir:{model}"
    suggestion = suggest_names(model, timm.list_pretrained(), "timm:")
    raise BackboneError(f"timm has no weights for {model!r}, and there is no such folder{suggestion}")


def _convert_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """Convert timm's preprocessing for evaluation. Raises BackboneError if it is not supported."""
    channels, height, width = config["input_size"]
    mode, interpolation = config["crop_mode"], config["interpolation"]
    if channels != 3 or height != width or mode != "center" or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(
            f"{name} needs images of {channels} x {height} x {width} by {mode!r} and {interpolation!r}; "
            "supported are colour images cropped to a centre square ('center'), bicubic or bilinear"
        )
    return Preprocessing(
        version=2,
        resize=math.floor(height / config["crop_pct"]),
        crop=height,
        interpolation=interpolation,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


class _LayerOutputs(nn.Module):
    """A model of timm: "pre", pooled; "logits", if it classifies; "blocks" of a transformer with a class token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        with collect_class_tokens(blocks_with_class_token(self.model)) as tokens:
            features = self.model.forward_features(pixels)
        layers = {"pre": self.model.forward_head(features, pre_logits=True)}
        if self.model.num_classes > 0:
            layers["logits"] = self.model.forward_head(features)
        return layers | ({"blocks": torch.cat(tokens, dim=1)} if tokens else {})
