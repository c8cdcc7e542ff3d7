"""Generators: models of diffusers that draw children from captions, or from parents."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPImageProcessor

from changeling.errors import BuildError, ImageError, one_line
from changeling.generators.base import Child, Generator, OutOfMemoryError, Record
from changeling.generators.hub import Source, fetch, loading, quiet
from changeling.generators.pipelines import check_pipeline, pipeline_class, read_index, scheduler_class
from changeling.generators.settings import ITS_OWN, NO_CHECKER, OFF, OWN, GeneratorSettings
from changeling.images.decode import read_image

_CHECKER = ("safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/*.json")
_AUTOENCODER = tuple(
    f"{folder}{name}" for folder in ("", "vae/") for name in ("config.json", "diffusion_pytorch_model.safetensors")
)
_VERSIONS = ("diffusers", "transformers", "torch", "numpy", "pillow")


def load(settings: GeneratorSettings, root: Path, threads: int | None = None) -> Generator:
    """Load a generator. Local models lie below `root`. Raises BuildError if it cannot be had.

    On a CPU `threads` share the work, by default as many as PyTorch would take: the last bit depends on it.
    """
    quiet()
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    family = Reconstruction if settings.kind == "reconstruction" else TextToImage
    return family(settings, root)


def find(settings: GeneratorSettings, root: Path) -> None:
    """Fetch all files of a generator without loading it.

    Raises:
        BuildError: they cannot be had, or not be used as the settings say.
    """
    quiet()
    if settings.kind == "reconstruction":
        _autoencoder(settings, root)
        return
    source = fetch(settings.model, settings.revision, root)
    check_pipeline(settings, pipeline_class(source))
    if settings.safety_checker not in (OWN, OFF):
        _checker_of(settings, root)


def default_threads() -> int:
    """How many threads PyTorch would take on this machine's CPU."""
    return int(torch.get_num_threads())


class TextToImage:
    """A text-to-image pipeline of diffusers: a child from a caption and a seed (the paper, section 3.1)."""

    def __init__(self, settings: GeneratorSettings, root: Path) -> None:
        """Raises BuildError if the pipeline cannot be fetched, loaded, or used so."""
        self._settings = settings
        source = fetch(settings.model, settings.revision, root)
        check_pipeline(settings, pipeline_class(source))
        dtype = _dtype(settings)
        parts, checker = self._checker(source, root, dtype)
        if "add_watermarker" in inspect.signature(pipeline_class(source).__init__).parameters:
            parts["add_watermarker"] = False
        with loading(settings.model):
            self._pipeline = diffusers.DiffusionPipeline.from_pretrained(
                source.folder, dtype=dtype, use_safetensors=True, local_files_only=True, **parts
            )
            self._pipeline.to(_device())
        if settings.scheduler:
            self._pipeline.scheduler = scheduler_class(settings.scheduler).from_config(self._pipeline.scheduler.config)
        self._pipeline.set_progress_bar_config(disable=True)
        self.device = _device_name()
        self.record = _record(settings, source, dtype) | {
            "pipeline": type(self._pipeline).__name__,
            "scheduler": _plain(self._pipeline.scheduler),
            "steps": settings.steps,
            "guidance": settings.guidance,
            "size": settings.size,
            "negative_prompt": settings.negative_prompt,
            "safety_checker": checker,
            "redraws": settings.redraws,
            "watermark": False,
            "arguments": settings.arguments,
        }

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Draw each child from its caption and seed."""
        settings = self._settings
        told: dict[str, Any] = {
            "prompt": [child.prompt for child in children],
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
            "height": settings.size,
            "width": settings.size,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],  # alike on all machines
            "output_type": "pil",
        } | settings.arguments
        if settings.negative_prompt:
            told["negative_prompt"] = [settings.negative_prompt] * len(children)
        with _drawing(settings.model):
            made = self._pipeline(**told)
            flagged = getattr(made, "nsfw_content_detected", None) or [False] * len(children)
            return [None if bad else image.convert("RGB") for image, bad in zip(made.images, flagged, strict=True)]

    def _checker(self, source: Source, root: Path, dtype: torch.dtype) -> tuple[dict[str, Any], str]:
        """What `from_pretrained` is to be given for the safety checker that is asked for, and what to call it."""
        settings = self._settings
        has = "safety_checker" in inspect.signature(pipeline_class(source).__init__).parameters
        if settings.safety_checker == OWN:
            told = read_index(source).get("safety_checker") or [None]
            return {}, ITS_OWN if has and told[0] else NO_CHECKER
        if settings.safety_checker == OFF:
            return ({"safety_checker": None, "requires_safety_checker": False} if has else {}), "off"
        other = _checker_of(settings, root)
        with loading(settings.safety_checker):
            parts = {
                "safety_checker": StableDiffusionSafetyChecker.from_pretrained(
                    other.folder / "safety_checker", dtype=dtype, use_safetensors=True
                ),
                "feature_extractor": CLIPImageProcessor.from_pretrained(other.folder / "feature_extractor"),
            }
        local = other.revision.startswith("files ")
        name = settings.safety_checker if local else settings.safety_checker.partition("@")[0]
        return parts, f"{name}@{other.revision}"


class Reconstruction:
    """A parent through a diffusion model's autoencoder and back: it shares all but the decoder's traces."""

    def __init__(self, settings: GeneratorSettings, root: Path) -> None:
        """Raises BuildError if the autoencoder cannot be fetched or loaded."""
        self._settings = settings
        source, folder = _autoencoder(settings, root)
        with loading(settings.model):
            self._model = diffusers.AutoencoderKL.from_pretrained(folder, dtype=_dtype(settings), use_safetensors=True)
            self._model.to(_device()).eval()
        self._multiple = 2 ** (len(self._model.config.block_out_channels) - 1)
        self.device = _device_name()
        self.record = _record(settings, source, _dtype(settings)) | {"pipeline": type(self._model).__name__}

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:  # noqa: ARG002
        """Reconstruct each child's parent at its own size, one after the other; seeds play no part."""
        return [self._rebuilt(child.parent) for child in children]

    def _rebuilt(self, parent: Path) -> Image.Image:
        image = read_image(parent).image
        try:
            return self._through(image)
        except OutOfMemoryError:  # others may be smaller, unless nothing fits any more
            self._through(Image.new("RGB", (64, 64)))
            size = f"{image.width} x {image.height} pixels"
            raise ImageError("oversized", f"{parent}: {size} are too many for the device's memory") from None

    @torch.inference_mode()
    def _through(self, image: Image.Image) -> Image.Image:
        pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1
        high, wide = (-side % self._multiple for side in pixels.shape[:2])
        padded = np.pad(pixels, ((0, high), (0, wide), (0, 0)), mode="edge")
        given = torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).to(self._model.device, self._model.dtype)
        with _drawing(self._settings.model):
            latents = self._model.encode(given).latent_dist.mode()
            made = self._model.decode(latents).sample[0].float().cpu().numpy()
        made = ((made + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(made[: image.height, : image.width]))


def _checker_of(settings: GeneratorSettings, root: Path) -> Source:
    """Fetch the safety checker of another model."""
    source = fetch(settings.safety_checker, "", root, _CHECKER)
    if not (source.folder / "safety_checker" / "config.json").exists():
        raise BuildError(f"{settings.safety_checker} has no safety checker: there is no safety_checker/config.json")
    return source


def _autoencoder(settings: GeneratorSettings, root: Path) -> tuple[Source, Path]:
    """Fetch an autoencoder, alone or as a pipeline's part; return where it comes from, and its folder."""
    source = fetch(settings.model, settings.revision, root, _AUTOENCODER)
    folder = source.folder / "vae" if (source.folder / "vae").is_dir() else source.folder
    if not (folder / "config.json").exists():
        raise BuildError(f"{folder} has no config.json: it is no autoencoder, nor a pipeline with one")
    return source, folder


def _record(settings: GeneratorSettings, source: Source, dtype: torch.dtype) -> Record:
    device = _device()
    return {
        "kind": settings.kind,
        "model": settings.model,
        "revision": source.revision,
        "precision": str(dtype).removeprefix("torch."),
        "device": device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _plain(scheduler: Any) -> Record:
    """A scheduler's class and settings, as JSON can hold them."""
    told = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    content: Record = json.loads(json.dumps({"class": type(scheduler).__name__} | told, default=str))
    return content


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device_name() -> str:
    """The GPU's name, or the set of instructions that PyTorch uses on the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"a CPU with {torch.backends.cpu.get_cpu_capability()}"


def _dtype(settings: GeneratorSettings) -> torch.dtype:
    name = settings.precision
    if name == "auto":  # half an autoencoder may overflow, as that of SDXL does; pipelines know when to take all of it
        half = torch.cuda.is_available() and settings.kind == "text-to-image"
        name = "float16" if half else "float32"
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@contextmanager
def _drawing(model: str) -> Iterator[None]:
    """Tell what a model may raise apart: too little memory, and what else ends a build."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise OutOfMemoryError from None
    except Exception as error:  # models raise whatever they like
        raise BuildError(
            f"{model} fails: {one_line(error) or type(error).__name__}; mend it and start again: what is done is kept"
        ) from None
