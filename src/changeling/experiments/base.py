"""The interface of experiments: an experiment, what it is given, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from changeling.backbones.registry import ALIASES
from changeling.backbones.text_encoder import TEXT_ENCODERS
from changeling.datasets.dataset import Dataset
from changeling.errors import StudyError
from changeling.features.store import Features, load_features
from changeling.progress import Progress, silent
from changeling.results.result import Result

GIB, MIB, GIGA = 2.0**30, 2.0**20, 1e9
ENCODER_EFFICIENCY = 0.6  # share of the speed of a matrix product; the middle of what benchmarks/runtime.py measures
ENCODING_MEMORY = 1.5 * GIB  # of a loaded backbone and its batches


class Settings(BaseModel):
    """Settings of an experiment, or of a study. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneSettings(Settings):
    """Settings of an experiment that uses the features of a single backbone of the study."""

    backbone: str = Field(default="", description="one of the backbones")


SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True, slots=True)
class Context:
    """The input that all experiments of a study share.

    Attributes:
        backbones: names of the backbones whose features are studied, in order.
        seed: of all random choices.
        seeds: how often probes, S and T are trained: with `seed`, `seed` + 1, ...
        settings: the settings of the study's experiments, by name; an absent experiment has its defaults.
        projections: the folder for checkpoints of S and T; None writes none.
        compare_with_paper: whether tables show the paper's values where they are comparable.
    """

    dataset: Dataset
    backbones: Sequence[str]
    seed: int = 0
    settings: Mapping[str, Settings] = field(default_factory=dict)
    projections: Path | None = None
    progress: Progress = silent
    compare_with_paper: bool = False
    seeds: int = 1

    def list_runs(self) -> list[Context]:
        """Return a context for each seed that probes, S and T are trained with."""
        return [replace(self, seed=self.seed + i) for i in range(self.seeds)]

    def load_features(self) -> Iterator[Features]:
        """Load the features of each backbone, one at a time: on COCOFake each array takes 1.5 GB."""
        for backbone in self.backbones:
            yield load_features(self.dataset, backbone)

    def get_settings(self, experiment: Experiment[SettingsT]) -> SettingsT:
        """Return the study's settings of an experiment."""
        settings = self.settings.get(experiment.name, experiment.settings())
        if not isinstance(settings, experiment.settings):
            raise TypeError(f"{experiment.name} takes {experiment.settings.__name__}, not {type(settings).__name__}")
        return settings


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated cost of an experiment.

    Attributes:
        memory: peak memory in bytes.
        disk: size of all files written, in bytes.
        input: what is processed, for the plan; empty: the features of the context's backbones.
    """

    seconds: float
    memory: float
    disk: float = MIB
    input: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What estimates of cost rest on, besides the dataset.

    Attributes:
        speed: floating-point operations per second of a float32 matrix product on this machine.
        dims: length of the features of each backbone; a backbone that must be loaded to know it is absent.
    """

    speed: float
    dims: Mapping[str, int]

    def get_dim(self, backbone: str) -> int:
        """Return the length of a backbone's features. Raises UnknownDimError if it is not known yet."""
        if backbone not in self.dims:
            raise UnknownDimError(backbone)
        return self.dims[backbone]

    def get_dims(self, context: Context) -> list[int]:
        """Return the length of the features of each backbone of a context. Raises UnknownDimError."""
        return [self.get_dim(backbone) for backbone in context.backbones]

    def estimate_encoding(self, backbone: str, images: int) -> float:
        """Return the seconds to encode images with a backbone. Raises UnknownDimError if it has no alias."""
        if backbone not in ALIASES:
            raise UnknownDimError(backbone)
        return images * ALIASES[backbone].operations * GIGA / (ENCODER_EFFICIENCY * self.speed)

    def estimate_caption_encoding(self, text_encoder: str, captions: int) -> float:
        """Return the seconds to encode captions with a text encoder."""
        return captions * TEXT_ENCODERS[text_encoder].operations * GIGA / (ENCODER_EFFICIENCY * self.speed)


class UnknownDimError(LookupError):
    """The length of a backbone's features is not known before the backbone is loaded."""


@dataclass(frozen=True, slots=True)
class Experiment(Generic[SettingsT]):
    """An experiment: features in, a Result out.

    Attributes:
        name: the key in study files, and the name of the result's file.
        title: the question that it answers.
        paper: the table or figures of the paper that it reproduces, if any.
        settings: the class of its settings; every field has a default and a description.
        check: looks at no features. Raises DatasetError if the dataset lacks what the experiment needs (it is then
            skipped), StudyError if a setting names something that does not exist (the study then stops).
        run: returns the Result. Raises as `check` does, and FeatureError if features are missing or outdated.
        cost: returns the estimated cost. Raises UnknownDimError.
    """

    name: str
    title: str
    paper: str
    settings: type[SettingsT]
    check: Callable[[Context, SettingsT], None]
    run: Callable[[Context, SettingsT], Result]
    cost: Callable[[Context, SettingsT, Machine], Cost]


def check_backbone(context: Context, experiment: str, backbone: str) -> None:
    """Raise StudyError if an experiment's setting `backbone` is not empty and not a backbone of the study."""
    if backbone and backbone not in context.backbones:
        known = ", ".join(context.backbones)
        raise StudyError(f"{experiment}.backbone = {backbone!r} is not among the backbones: {known}")


def estimate_memory(dataset: Dataset, dim: int, copies: float = 1.5) -> float:
    """Return the memory in bytes of an experiment that holds some copies of one backbone's features at once."""
    return 0.3 * GIB + len(dataset) * (4 * dim + 500) * copies
