"""Image towers that run on PyTorch, and their export to ONNX; what open_clip and timm backbones share."""

from __future__ import annotations

import difflib
import hashlib
import io
import logging
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from changeling.backbones.onnx import OnnxBackbone, describe, open_session, pick
from changeling.config import cache_dir
from changeling.errors import BackboneError, WeightsError, one_line
from changeling.files import atomic_write
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress

if TYPE_CHECKING:
    from changeling.backbones.registry import Backbone

Runtime = Literal["auto", "torch", "onnx"]
Floats = NDArray[np.float32]
Texts = Callable[[Sequence[str]], Floats]

TOLERANCE = 1e-4  # of an export: largest difference to PyTorch in a layer, as a part of its largest value
_VERSION = 1  # of the towers: raise it when a layer becomes something else
_LARGEST = 2**31 - 2**24  # bytes of weights: an ONNX file ends at 2 GiB
_OPSET = 17


@dataclass(frozen=True, slots=True)
class Model:
    """What a library loaded.

    Attributes:
        tower: pixels (B, 3, H, W) -> features (B, D) by layer, the default first.
        weights: see `weights_hash`.
        preprocessing: what is done to an image before it.
        texts: captions -> features (N, D) in the space of the default layer, or None without a text tower.
    """

    tower: nn.Module
    weights: str
    preprocessing: Preprocessing
    texts: Texts | None = None


def open_backbone(model: Model, name: str, layer: str, runtime: Runtime, progress: Progress) -> Backbone:
    """Choose where `model` runs: PyTorch in half precision on a GPU; without one onnxruntime, if it can be exported.

    Raises:
        BackboneError: the model has no such layer, or `runtime` is "onnx" and it cannot be exported.
    """
    images: Backbone | None = None
    if runtime == "onnx" or (runtime == "auto" and not torch.cuda.is_available()):
        try:
            images = OnnxBackbone(_exported(model, name, progress), name, layer)
        except _NotExportableError:
            if runtime == "onnx":
                raise
    images = images or TorchBackbone(model, name, layer)
    return WithTexts(images, model.texts) if model.texts and images.name == name else images


class TorchBackbone:
    """A frozen encoder that runs on PyTorch: on a GPU in half precision, to within a hundredth of the largest value."""

    def __init__(self, model: Model, name: str, layer: str) -> None:
        """Raises BackboneError if the model has no such layer."""
        self._tower, self.preprocessing = model.tower, model.preprocessing
        layers = _features(model.tower, _blank(model), name)
        self._layer, self.name = pick(layers, layer, name)
        self.dim = layers[self._layer].shape[1]
        self.weights = f"{model.weights}-half" if halves(_place(model.tower)) else model.weights

    def encode(self, pixels: Floats) -> Floats:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        for half in (True, False):  # what is too large for half precision gets single
            features = _features(self._tower, pixels, self.name, half)[self._layer]
            if np.isfinite(features).all():
                return features
        raise BackboneError(f"{self.name} overflows: its features are not all finite")


class WithTexts:
    """A backbone with a text tower beside it."""

    def __init__(self, images: Backbone, texts: Texts) -> None:
        self.name, self.weights = images.name, images.weights
        self.preprocessing, self.dim = images.preprocessing, images.dim
        self._images, self._texts = images, texts

    def encode(self, pixels: Floats) -> Floats:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        return self._images.encode(pixels)

    def encode_text(self, captions: Sequence[str]) -> Floats:
        """Captions -> features (N, D) in the space of the images, float32. Raises BackboneError."""
        return self._texts(captions) if len(captions) else np.empty((0, self.dim), np.float32)


def device() -> torch.device:
    """Where a model is put."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def halves(place: torch.device) -> bool:
    """Whether a model there runs in half precision."""
    return place.type == "cuda"


def precision(place: torch.device, half: bool = True) -> torch.autocast:
    """Half precision on a GPU; what needs more (norms, softmax) is kept in single precision. Elsewhere single."""
    return torch.autocast(place.type, torch.float16, enabled=half and halves(place))


def weights_hash(model: nn.Module, architecture: str) -> str:
    """Hash over all tensors, whatever file they came from, over what is built around them and how it is used."""
    digest = hashlib.sha256(f"{_VERSION} {architecture}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).numpy())
    return digest.hexdigest()[:16]


@contextmanager
def class_tokens(blocks: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect token 0 of what each block gives, while the block of the `with` runs the model."""
    tokens: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, given: tokens.append(given[:, 0])) for block in blocks]
    try:
        yield tokens
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def loading(name: str, hub: bool) -> Iterator[None]:
    """Keep a library quiet that loads a model; say in one line what stops it. `hub`: it may need the network."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (BackboneError, WeightsError):
        raise
    except Exception as error:  # the libraries raise what they like
        said = (one_line(error, 300) or type(error).__name__).replace("local-dir:", "")
        if hub and isinstance(error, OSError):
            raise WeightsError(
                f"cannot fetch the weights of {name}: {said}; check the network, or name a checkpoint on disk "
                "(open_clip:ARCH/FILE, open_clip:FOLDER, timm:FOLDER)"
            ) from None
        pickled = any(isinstance(cause, pickle.UnpicklingError) for cause in (error, error.__cause__))
        if pickled or "TorchScript" in str(error):
            raise BackboneError(
                f"{name}: the checkpoint holds code, which is not run; save its state dict alone"
            ) from None
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise BackboneError(f"{name} needs {error.name}: pip install {error.name}") from None
        raise BackboneError(f"{name} cannot be loaded: {said}") from None
    finally:
        logging.disable(disabled)


def near(name: str, known: Iterable[str], family: str) -> str:
    """End an error about a name with those of the known that are near; they follow `family`."""
    found = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return "; near: " + ", ".join(f"{family}{one}" for one in found) if found else ""


def _blank(model: Model) -> Floats:
    return np.zeros((1, 3, model.preprocessing.crop, model.preprocessing.crop), np.float32)


def _place(tower: nn.Module) -> torch.device:
    return next(tower.parameters()).device


def _features(tower: nn.Module, pixels: Floats, name: str, half: bool = True) -> Mapping[str, Floats]:
    place = _place(tower)
    try:
        with torch.inference_mode(), precision(place, half):
            given = tower(torch.tensor(pixels).to(place))
            layers = {layer: features.float().cpu().numpy() for layer, features in given.items()}
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        raise BackboneError(f"{name} does not take images of {pixels.shape}: {one_line(error)}") from None
    for layer, features in layers.items():
        if features.ndim != 2 or len(features) != len(pixels):
            raise BackboneError(f"{name}@{layer} gives {features.shape} for {len(pixels)} images, not one vector each")
    return layers


class _NotExportableError(BackboneError):
    """ONNX cannot express the model, or the exporter did not; PyTorch runs it."""


class _Tuple(nn.Module):
    """A tower as the exporter wants it: no dictionary."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.tower(pixels).values())


def _exported(model: Model, name: str, progress: Progress) -> Path:
    """The tower's ONNX file, made and checked on first use."""
    slug = re.sub(r"[^\w.-]+", "-", name)[-80:]
    path = cache_dir() / f"{slug}-{model.weights}-{model.preprocessing.hash}.onnx"
    if not path.exists():
        size = sum(tensor.numel() * tensor.element_size() for tensor in model.tower.state_dict().values())
        if size > _LARGEST:
            raise _NotExportableError(f"{name} is too large for an ONNX file: {size / 2**30:.1f} GiB")
        progress(f"exporting {name}", 0, size)
        try:
            with atomic_write(path) as temporary:
                onnx.save(_graph(model, name), temporary)
                _check(temporary, model, name)
        except OSError:
            raise
        except Exception as error:  # the exporter's and the runtime's share no base
            raise _NotExportableError(f"{name} cannot be exported to ONNX: {one_line(error)}") from None
        progress(f"exporting {name}", size, size)
    return path


def _graph(model: Model, name: str) -> onnx.ModelProto:
    blank = _blank(model)
    layers = list(_features(model.tower.cpu(), blank, name))
    buffer = io.BytesIO()
    # With gradients, attention is traced by its parts and not as one operator that ONNX does not have. The tracer warns
    # of all that could depend on the input's values or size; `_check` finds out whether anything does. Where it fails,
    # it prints the whole graph past `sys.stdout`.
    silent = patch.object(torch._C, "_jit_onnx_log", lambda *_: None)
    with warnings.catch_warnings(action="ignore"), torch.enable_grad(), silent:
        torch.onnx.export(
            _Tuple(model.tower).eval(),
            (torch.from_numpy(blank),),
            buffer,  # type: ignore[arg-type]
            input_names=["pixel_values"],
            output_names=layers,
            dynamic_axes={axis: {0: "batch"} for axis in ("pixel_values", *layers)},
            opset_version=_OPSET,
            dynamo=False,
        )
    graph = onnx.load_model_from_string(buffer.getvalue())
    describe(graph, weights=model.weights, preprocessing=model.preprocessing)
    return graph


def _check(path: Path, model: Model, name: str) -> None:
    """Compare the graph with the tower on random batches of one and of three images."""
    session = open_session(path)
    draw = np.random.default_rng(0)
    for batch in (1, 3):
        pixels = draw.normal(size=(batch, 3, model.preprocessing.crop, model.preprocessing.crop)).astype(np.float32)
        expected = _features(model.tower, pixels, name)
        for (layer, wanted), found in zip(
            expected.items(), session.run(list(expected), {"pixel_values": pixels}), strict=True
        ):
            off = float(np.abs(found - wanted).max() / np.abs(wanted).max()) if found.shape == wanted.shape else np.inf
            if not off <= TOLERANCE:
                raise ValueError(f"it differs from PyTorch at @{layer} by {off:.1e} of the largest value")
