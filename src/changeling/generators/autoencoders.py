"""The autoencoders that reconstruct images, and how the one in a model's folder is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from safetensors.torch import load_file
from torch import Tensor, nn

from changeling.errors import BuildError, one_line

CONFIG = "config.json"
TAEF2_WEIGHTS = "taef2.safetensors"
AUTOENCODERS: dict[str, type[Any]] = {
    "AutoencoderKL": diffusers.AutoencoderKL,
    "AutoencoderTiny": diffusers.AutoencoderTiny,
}  # by the `_class_name` in config.json


class Taef2Block(AutoencoderTinyBlock):  # type: ignore[misc]
    """A block of AutoencoderTiny that first adds a group-normalised projection of its input."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, "relu")
        self.pool = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.GroupNorm(4, 4 * channels),
            nn.ReLU(),
            nn.Conv2d(4 * channels, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (batch, channels, height, width) to the same shape."""
        output: Tensor = super().forward(features + self.pool(features))
        return output


class Taef2(diffusers.AutoencoderTiny):  # type: ignore[misc]
    """TAEF2, the tiny autoencoder of FLUX.2: AutoencoderTiny with other blocks at the lowest resolution.

    diffusers has no class for it. Its weights have the parameter names of AutoencoderTiny.
    """

    def __init__(self) -> None:
        super().__init__(latent_channels=32)
        for layers, positions in ((self.encoder.layers, (11, 12, 13)), (self.decoder.layers, (2, 3, 4))):
            for position in positions:
                layers[position] = Taef2Block(64)


def has_autoencoder(folder: Path) -> bool:
    """Whether a folder has the files of an autoencoder."""
    return (folder / CONFIG).exists() or (folder / TAEF2_WEIGHTS).exists()


def load_autoencoder(folder: Path, dtype: torch.dtype) -> Any:
    """Load the autoencoder of a folder, for inference on the CPU.

    It is of the class that config.json names, or TAEF2, whose repository has weights alone.

    Raises:
        BuildError: the class is none of AUTOENCODERS.
    """
    if not (folder / CONFIG).exists():
        model = Taef2()
        model.load_state_dict(load_file(folder / TAEF2_WEIGHTS))
        return model.to(dtype).eval()
    class_name = _read_class_name(folder / CONFIG)
    if class_name not in AUTOENCODERS:
        raise BuildError(f"{folder}: {class_name!r} is not an autoencoder that is supported: {', '.join(AUTOENCODERS)}")
    return AUTOENCODERS[class_name].from_pretrained(folder, dtype=dtype, use_safetensors=True).eval()


def _read_class_name(path: Path) -> object:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be read: {one_line(error)}") from None
    return config.get("_class_name") if isinstance(config, dict) else None
