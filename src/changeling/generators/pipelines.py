"""Pipelines of diffusers: which can draw children from captions, told before their weights are read."""

from __future__ import annotations

import inspect
import json
from typing import Any

import diffusers

from changeling.errors import BuildError, one_line
from changeling.generators.hub import Source
from changeling.generators.settings import OFF, OWN, GeneratorSettings

# of a pipeline's arguments, those that the settings and the children decide
_TAKEN = frozenset(
    (
        *("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "height", "width", "generator"),
        *("num_images_per_prompt", "output_type", "return_dict"),
    )
)
_SEEN = frozenset(("image", "images", "control_image", "mask_image", "video", "strength"))


def pipeline_class(source: Source) -> type[Any]:
    """The pipeline's class. Raises BuildError if it is none of diffusers' own."""
    name = read_index(source).get("_class_name")
    found = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise BuildError(f"{source.folder}: {name!r} is no pipeline of diffusers; changeling runs no code of others")
    return found


def read_index(source: Source) -> dict[str, Any]:
    """What model_index.json says. Raises BuildError if it cannot be read."""
    path = source.folder / "model_index.json"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        alone = (source.folder / "config.json").exists()
        hint = "; an autoencoder alone is of kind = 'reconstruction'" if alone else f": {one_line(error)}"
        raise BuildError(f"{path} cannot be read, so this is no pipeline of diffusers{hint}") from None
    return content if isinstance(content, dict) else {}


def check_pipeline(settings: GeneratorSettings, pipeline: type[Any]) -> None:
    """Raise BuildError if a class of pipelines cannot be used as the settings say: before its weights are read."""
    takes = inspect.signature(pipeline.__call__).parameters
    needed = {name for name, told in takes.items() if told.default is told.empty and "arg" not in name} - {"self"}
    if "prompt" not in takes or needed - {"prompt"} or (_SEEN & takes.keys() and not _looks_optionally(pipeline)):
        raise BuildError(f"{settings.model}: a {pipeline.__name__} draws nothing from text alone")
    takes_checker = "safety_checker" in inspect.signature(pipeline.__init__).parameters
    if settings.safety_checker not in (OWN, OFF) and not takes_checker:
        raise BuildError(f"{settings.model}: a {pipeline.__name__} takes no safety checker; write {OWN!r}")
    for name in settings.arguments:
        if name in _TAKEN:
            raise BuildError(f"{settings.model}: arguments cannot say {name!r}, which is decided elsewhere")
        if name not in takes:
            raise BuildError(f"{settings.model}: a {pipeline.__name__} takes no argument {name!r}")
    if settings.scheduler:
        scheduler_class(settings.scheduler)


def _looks_optionally(pipeline: type[Any]) -> bool:
    """Whether a pipeline that takes images also draws without: by diffusers' own list, as signatures look alike."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as MAPPING

    return pipeline in MAPPING.values() and "Control" not in pipeline.__name__


def scheduler_class(name: str) -> Any:
    """A scheduler of diffusers. Raises BuildError if there is none of this name."""
    found = getattr(diffusers, name, None)
    is_one = inspect.isclass(found) and issubclass(found, diffusers.SchedulerMixin) and hasattr(found, "from_config")
    if not is_one:
        raise BuildError(f"there is no scheduler {name!r} in diffusers; one is DDIMScheduler")
    return found
