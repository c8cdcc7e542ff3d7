"""Check, before weights are loaded, whether a pipeline of diffusers can draw children from captions."""

from __future__ import annotations

import inspect
import json
from typing import Any

import diffusers

from changeling.errors import BuildError, one_line
from changeling.generators.hub import ModelFiles
from changeling.generators.settings import CHECKER_OFF, OWN_CHECKER, GeneratorSettings

# arguments of a pipeline's call that the settings and the children determine
_RESERVED_ARGUMENTS = frozenset(
    {
        "prompt",
        "negative_prompt",
        "num_inference_steps",
        "guidance_scale",
        "height",
        "width",
        "generator",
        "num_images_per_prompt",
        "output_type",
        "return_dict",
    }
)
_IMAGE_ARGUMENTS = frozenset({"image", "images", "control_image", "mask_image", "video", "strength"})


def find_pipeline_class(source: ModelFiles) -> type[Any]:
    """The pipeline's class. Raises BuildError if it is none of diffusers' own."""
    name = read_index(source).get("_class_name")
    pipeline = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (inspect.isclass(pipeline) and issubclass(pipeline, diffusers.DiffusionPipeline)):
        raise BuildError(f"{source.folder}: {name!r} is no pipeline of diffusers; changeling runs no code of others")
    return pipeline


def read_index(source: ModelFiles) -> dict[str, Any]:
    """The content of model_index.json. Raises BuildError if it cannot be read."""
    path = source.folder / "model_index.json"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        is_autoencoder = (source.folder / "config.json").exists()
        hint = "; for an autoencoder alone write kind = 'reconstruction'" if is_autoencoder else f": {one_line(error)}"
        raise BuildError(f"{path} cannot be read, so this is no pipeline of diffusers{hint}") from None
    return content if isinstance(content, dict) else {}


def check_pipeline(settings: GeneratorSettings, pipeline: type[Any]) -> None:
    """Raise BuildError if a pipeline of this class cannot be used with these settings."""
    parameters = inspect.signature(pipeline.__call__).parameters
    needed = {
        name for name, parameter in parameters.items() if parameter.default is parameter.empty and "arg" not in name
    }
    if (
        "prompt" not in parameters
        or needed - {"self", "prompt"}
        or (_IMAGE_ARGUMENTS & parameters.keys() and not _is_text_to_image(pipeline))
    ):
        raise BuildError(f"{settings.model}: a {pipeline.__name__} draws nothing from text alone")
    takes_checker = "safety_checker" in inspect.signature(pipeline.__init__).parameters
    if settings.safety_checker not in (OWN_CHECKER, CHECKER_OFF) and not takes_checker:
        raise BuildError(f"{settings.model}: a {pipeline.__name__} takes no safety checker; write {OWN_CHECKER!r}")
    for name in settings.arguments:
        if name in _RESERVED_ARGUMENTS:
            raise BuildError(f"{settings.model}: arguments cannot set {name!r}; changeling sets it itself")
        if name not in parameters:
            raise BuildError(f"{settings.model}: a {pipeline.__name__} takes no argument {name!r}")
    if settings.scheduler:
        find_scheduler_class(settings.scheduler)


def _is_text_to_image(pipeline: type[Any]) -> bool:
    """Whether diffusers lists a pipeline that takes images as text-to-image: its signature does not show it."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as MAPPING

    return pipeline in MAPPING.values() and "Control" not in pipeline.__name__


def find_scheduler_class(name: str) -> Any:
    """A scheduler of diffusers. Raises BuildError if there is none of this name."""
    scheduler = getattr(diffusers, name, None)
    is_scheduler = inspect.isclass(scheduler) and issubclass(scheduler, diffusers.SchedulerMixin)
    if not (is_scheduler and hasattr(scheduler, "from_config")):
        raise BuildError(f"there is no scheduler {name!r} in diffusers; one is DDIMScheduler")
    return scheduler
