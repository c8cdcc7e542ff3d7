"""Text-to-image pipelines of diffusers: a child from a caption and a seed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPImageProcessor

from changeling.backbones.torch_model import default_device
from changeling.errors import BuildError
from changeling.generators.base import Child, Record
from changeling.generators.hub import ModelFiles, explain_load_errors, fetch_model
from changeling.generators.pipelines import check_pipeline, find_pipeline_class, find_scheduler_class, read_index
from changeling.generators.runtime import (
    base_record,
    convert_model_errors,
    get_device_name,
    select_dtype,
)
from changeling.generators.settings import (
    CHECKER_OFF,
    OWN_CHECKER,
    RECORDED_NO_CHECKER,
    RECORDED_OWN_CHECKER,
    GeneratorSettings,
)

_CHECKER = ("safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/*.json")


class TextToImage:
    """A text-to-image pipeline of diffusers: a child from a caption and a seed (the paper, section 3.1)."""

    def __init__(self, settings: GeneratorSettings, root: Path) -> None:
        """Raises BuildError if the pipeline cannot be fetched, loaded, or used with these settings."""
        self._settings = settings
        source = fetch_model(settings.model, settings.revision, root)
        check_pipeline(settings, find_pipeline_class(source))
        dtype = select_dtype(settings, torch.float16)
        components, checker = self._load_checker(source, root, dtype)
        if "add_watermarker" in inspect.signature(find_pipeline_class(source).__init__).parameters:
            components["add_watermarker"] = False
        with explain_load_errors(settings.model):
            self._pipeline = diffusers.DiffusionPipeline.from_pretrained(
                source.folder, dtype=dtype, use_safetensors=True, local_files_only=True, **components
            )
            self._pipeline.to(default_device())
        if settings.scheduler:
            self._pipeline.scheduler = find_scheduler_class(settings.scheduler).from_config(
                self._pipeline.scheduler.config
            )
        self._pipeline.set_progress_bar_config(disable=True)
        self.device = get_device_name()
        self.record = base_record(settings, source, dtype) | {
            "pipeline": type(self._pipeline).__name__,
            "scheduler": _scheduler_record(self._pipeline.scheduler),
            "steps": settings.steps,
            "guidance": settings.guidance,
            "size": settings.size,
            "negative_prompt": settings.negative_prompt,
            "safety_checker": checker,
            "redraws": settings.redraws,
            "watermark": False,
            "arguments": settings.arguments,
        }

    @staticmethod
    def fetch_files(settings: GeneratorSettings, root: Path) -> None:
        """Fetch the pipeline and its safety checker. Raises BuildError if they do not fit the settings."""
        source = fetch_model(settings.model, settings.revision, root)
        check_pipeline(settings, find_pipeline_class(source))
        if settings.safety_checker not in (OWN_CHECKER, CHECKER_OFF):
            _fetch_checker(settings, root)

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Draw each child from its caption and seed."""
        settings = self._settings
        arguments: dict[str, Any] = {
            "prompt": [child.prompt for child in children],
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
            "height": settings.size,
            "width": settings.size,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],  # a CPU's are equal everywhere
            "output_type": "pil",
        } | settings.arguments
        if settings.negative_prompt:
            arguments["negative_prompt"] = [settings.negative_prompt] * len(children)
        with convert_model_errors(settings.model):
            output = self._pipeline(**arguments)
            flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(children)
            return [
                None if is_flagged else image.convert("RGB")
                for image, is_flagged in zip(output.images, flagged, strict=True)
            ]

    def _load_checker(self, source: ModelFiles, root: Path, dtype: torch.dtype) -> tuple[dict[str, Any], str]:
        """The arguments of `from_pretrained` for the safety checker of the settings, and its name in the record."""
        settings = self._settings
        takes_checker = "safety_checker" in inspect.signature(find_pipeline_class(source).__init__).parameters
        if settings.safety_checker == OWN_CHECKER:
            component = read_index(source).get("safety_checker") or [None]
            return {}, RECORDED_OWN_CHECKER if takes_checker and component[0] else RECORDED_NO_CHECKER
        if settings.safety_checker == CHECKER_OFF:
            return ({"safety_checker": None, "requires_safety_checker": False} if takes_checker else {}), "off"
        checker = _fetch_checker(settings, root)
        with explain_load_errors(settings.safety_checker):
            components = {
                "safety_checker": StableDiffusionSafetyChecker.from_pretrained(
                    checker.folder / "safety_checker", dtype=dtype, use_safetensors=True
                ),
                "feature_extractor": CLIPImageProcessor.from_pretrained(checker.folder / "feature_extractor"),
            }
        is_folder = checker.revision.kind == "files"
        name = settings.safety_checker if is_folder else settings.safety_checker.partition("@")[0]
        return components, f"{name}@{checker.revision}"


def _fetch_checker(settings: GeneratorSettings, root: Path) -> ModelFiles:
    """Fetch the safety checker of another model."""
    source = fetch_model(settings.safety_checker, "", root, _CHECKER)
    if not (source.folder / "safety_checker" / "config.json").exists():
        raise BuildError(f"{settings.safety_checker} has no safety checker: there is no safety_checker/config.json")
    return source


def _scheduler_record(scheduler: Any) -> Record:
    """A scheduler's class and settings, converted for JSON."""
    config = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    content: Record = json.loads(json.dumps({"class": type(scheduler).__name__} | config, default=str))
    return content
