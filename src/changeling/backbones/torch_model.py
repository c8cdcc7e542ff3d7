"""A PyTorch image model with named layers, as loaded from open_clip or timm."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from changeling.errors import BackboneError, one_line
from changeling.images.transforms import Preprocessing

Floats = NDArray[np.float32]
TextEncoder = Callable[[Sequence[str]], Floats]

_VERSION = 1  # of the layers; increase it when a layer's output changes


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A model that was loaded from a library.

    Attributes:
        network: pixels (B, 3, H, W) -> features (B, D) of each layer by name, the default layer first.
        weights: see `hash_weights`.
        preprocessing: what is done to an image before it.
        encode_text: captions -> features (N, D) in the space of the default layer, or None without a text tower.
    """

    network: nn.Module
    weights: str
    preprocessing: Preprocessing
    encode_text: TextEncoder | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.network.parameters()).device

    @property
    def in_half_precision(self) -> bool:
        """Whether the model runs in half precision where it is."""
        return uses_half_precision(self.device)

    def blank_image(self) -> Floats:
        """One image of zeros (1, 3, crop, crop)."""
        side = self.preprocessing.crop
        return np.zeros((1, 3, side, side), np.float32)


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU."""
    return default_device().type != "cpu"


def default_device() -> torch.device:
    """The GPU if there is one, of NVIDIA or AMD (CUDA, ROCm) or of an Apple processor (MPS), else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def uses_half_precision(device: torch.device) -> bool:
    """Whether models on `device` run in half precision."""
    return device.type == "cuda"


def autocast(device: torch.device, half: bool = True) -> torch.autocast:
    """Half precision on CUDA, except in operations that need more (norms, softmax); single precision elsewhere."""
    return torch.autocast(device.type, torch.float16, enabled=half and uses_half_precision(device))


def compute_layers(model: TorchModel, pixels: Floats, name: str, half: bool = True) -> Mapping[str, Floats]:
    """Preprocessed images (B, 3, H, W) -> features (B, D) of every layer, float32.

    Raises:
        BackboneError: the model does not take such images or does not return one vector for each.
    """
    device = model.device
    try:
        with torch.inference_mode(), autocast(device, half):
            outputs = model.network(torch.tensor(pixels).to(device))
            layers = {layer: features.float().cpu().numpy() for layer, features in outputs.items()}
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        raise BackboneError(f"{name} does not take images of {pixels.shape}: {one_line(error)}") from None
    for layer, features in layers.items():
        if features.ndim != 2 or len(features) != len(pixels):
            raise BackboneError(
                f"{name}@{layer} returns {features.shape} for {len(pixels)} images, not one vector each"
            )
    return layers


def hash_weights(network: nn.Module, architecture: str) -> str:
    """Hash all tensors, whatever file they were loaded from, and the description of the architecture."""
    digest = hashlib.sha256(f"{_VERSION} {architecture}".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).numpy())
    return digest.hexdigest()[:16]


@contextmanager
def collect_class_tokens(blocks: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect token 0 of the output of each block while the model runs inside the `with` statement."""
    tokens: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, output: tokens.append(output[:, 0])) for block in blocks]
    try:
        yield tokens
    finally:
        for hook in hooks:
            hook.remove()
