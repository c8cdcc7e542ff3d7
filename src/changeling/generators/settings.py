"""The settings of a generator: a table [generators.NAME] of a study file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from changeling.generators.families import FAMILIES, Kind

Precision = Literal["auto", "float32", "float16", "bfloat16"]
OWN_CHECKER, CHECKER_OFF = "own", "off"  # values of the setting safety_checker, beside the name of a model
RECORDED_OWN_CHECKER, RECORDED_NO_CHECKER = "its own", "none: the model has none"  # as they are recorded


class GeneratorSettings(BaseModel):
    """A generator: a model of diffusers, by its id on the Hugging Face Hub or its folder, and how it is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    revision: str = ""  # a commit of the Hub; "": the newest, which is then recorded and used from then on
    kind: Kind = "text-to-image"
    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=7.5, ge=0)
    size: int = Field(default=512, ge=8, multiple_of=8)  # side of the generated square image, in pixels
    negative_prompt: str = ""
    scheduler: str = ""  # a class of diffusers, such as DDIMScheduler; "": the model's own
    precision: Precision = "auto"  # half on a GPU, single on a CPU and for a reconstruction
    safety_checker: str = OWN_CHECKER  # "own", "off", or a model (owner/name@commit) whose checker is used
    redraws: int = Field(default=4, ge=0)  # further attempts for a flagged child, each with the next seed
    arguments: dict[str, bool | int | float | str] = {}  # further arguments of the pipeline call, passed on unchanged

    @model_validator(mode="after")
    def _check_family_settings(self) -> Self:
        allowed = FAMILIES[self.kind].settings
        unused = [] if allowed is None else sorted(self.model_fields_set - {"kind", "model", "revision", *allowed})
        if unused:
            raise ValueError(f"a {self.kind} has no {' and no '.join(unused)}")
        return self
