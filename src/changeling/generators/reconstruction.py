"""Reconstructions: a parent's image, encoded and decoded by the autoencoder of a diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from PIL import Image

from changeling.backbones.torch_model import default_device
from changeling.errors import BuildError, ImageError
from changeling.generators.autoencoders import CONFIG, TAEF2_WEIGHTS, has_autoencoder, load_autoencoder
from changeling.generators.base import Child, OutOfMemoryError
from changeling.generators.hub import ModelFiles, explain_load_errors, fetch_model
from changeling.generators.runtime import (
    base_record,
    convert_model_errors,
    get_device_name,
    select_dtype,
)
from changeling.generators.settings import GeneratorSettings
from changeling.images.decode import ImageFile, decode_image

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FILES = (CONFIG, _WEIGHTS, f"vae/{CONFIG}", f"vae/{_WEIGHTS}", TAEF2_WEIGHTS)


class Reconstruction:
    """An autoencoder that encodes and decodes a parent's image: the child differs by the decoder's traces only."""

    def __init__(self, settings: GeneratorSettings, root: Path) -> None:
        """Raises BuildError if the autoencoder cannot be fetched or loaded."""
        self._settings = settings
        source, folder = _fetch_autoencoder(settings, root)
        dtype = select_dtype(settings, torch.float32)  # the autoencoder of SDXL overflows in half precision
        with explain_load_errors(settings.model):
            self._model = load_autoencoder(folder, dtype).to(default_device())
        self._multiple = 2 ** (len(self._model.config.block_out_channels) - 1)
        self.device = get_device_name()
        self.record = base_record(settings, source, dtype) | {"pipeline": type(self._model).__name__}

    @staticmethod
    def fetch_files(settings: GeneratorSettings, root: Path) -> None:
        """Fetch the autoencoder's files. Raises BuildError if there is none."""
        _fetch_autoencoder(settings, root)

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:  # noqa: ARG002
        """Reconstruct each child's parent at its own size, one after the other; seeds are not used."""
        return [self._reconstruct(child.parent.file) for child in children]

    def _reconstruct(self, parent: ImageFile) -> Image.Image:
        image = decode_image(parent).image
        try:
            return self._encode_and_decode(image)
        except OutOfMemoryError:  # other parents may be smaller, unless the memory is full for all of them
            self._encode_and_decode(Image.new("RGB", (64, 64)))
            size = f"{image.width} x {image.height} pixels"
            raise ImageError("oversized", f"{parent.path}: {size} are too many for the device's memory") from None

    @torch.inference_mode()
    def _encode_and_decode(self, image: Image.Image) -> Image.Image:
        pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1
        high, wide = (-side % self._multiple for side in pixels.shape[:2])
        padded = np.pad(pixels, ((0, high), (0, wide), (0, 0)), mode="edge")
        tensor = torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).to(self._model.device, self._model.dtype)
        with convert_model_errors(self._settings.model):
            latents = retrieve_latents(self._model.encode(tensor), sample_mode="argmax")
            decoded = self._model.decode(latents).sample[0].float().cpu().numpy()
        pixels = ((decoded + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(pixels[: image.height, : image.width]))


def _fetch_autoencoder(settings: GeneratorSettings, root: Path) -> tuple[ModelFiles, Path]:
    """Fetch an autoencoder, alone or as part of a pipeline; return the model's files and its folder."""
    source = fetch_model(settings.model, settings.revision, root, _FILES)
    folder = source.folder / "vae" if (source.folder / "vae").is_dir() else source.folder
    if not has_autoencoder(folder):
        raise BuildError(f"{folder} has no {CONFIG}: it is neither an autoencoder nor a pipeline with one")
    return source, folder
