"""Protocols: what is evaluated and how, as a TOML file that others can use on the same data."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from changeling.datasets.schema import Split
from changeling.errors import EvaluationError
from changeling.evaluation.conditions import CONDITIONS, PREPROCESSINGS, TRANSFORMED, check_transformations
from changeling.evaluation.measures import METRICS

METRIC_KEYS = tuple(metric.key for metric in METRICS)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExpectedDataset(_Settings):
    """The dataset that a protocol is for; what is empty is not compared.

    Attributes:
        hash: of the dataset.
        real, fake: numbers of images in the split.
        generators: number of images of each generator in the split.
    """

    hash: str = ""
    real: int | None = Field(default=None, ge=0)
    fake: int | None = Field(default=None, ge=0)
    generators: dict[str, int] = Field(default_factory=dict)


class ThresholdSettings(_Settings):
    """Which score means fake: above `value`, or above what a share of the real images of a split exceed.

    Without either, the labels of the detector count, or 0.5 for probabilities.
    """

    value: float | None = None
    false_positive_rate: float | None = Field(default=None, gt=0, lt=1)
    split: Split = "val"

    @model_validator(mode="after")
    def _check_one_rule(self) -> Self:
        if self.value is not None and self.false_positive_rate is not None:
            raise ValueError("[threshold] has both value and false_positive_rate; remove one of them")
        return self


class Protocol(_Settings):
    """The content of a protocol file. A wrong name or value raises EvaluationError.

    Attributes:
        source: where the protocol is published.
        training: what the protocol trains detectors on; only written down.
        conditions: in which the images are scored.
        preprocessing: of all images, before anything else.
        transformations: of the condition "transformed": names of transformations, and the strengths that are drawn.
        generators: that the dataset should have, in the order of the table of subsets.
        real_sources: the source of the real images that a generator is compared with, if it is not its own.
        metrics: of the table of metrics.
        subset_metrics: of the table of each generator with its own real images; empty leaves it out.
        window_size: how many of the generators, one after the other, are a window of time in the table of windows,
            which has the same metrics; 0 leaves it out.
        seed: of the classifier of file properties.
        detectors: names of detectors and the identities that they should have; others may be evaluated, too.
    """

    name: str
    source: str = ""
    training: str = ""
    split: Literal["train", "val", "test", "all"] = "test"
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    preprocessing: str = "none"
    transformations: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    generators: tuple[str, ...] = ()
    real_sources: dict[str, str] = Field(default_factory=dict)
    metrics: tuple[str, ...] = METRIC_KEYS
    subset_metrics: tuple[str, ...] = ()
    window_size: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    detectors: dict[str, str] = Field(default_factory=dict)
    dataset: ExpectedDataset = ExpectedDataset()
    threshold: ThresholdSettings = ThresholdSettings()

    @field_validator("conditions")
    @classmethod
    def _check_conditions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _check_choices("conditions", names, (*CONDITIONS, TRANSFORMED))

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _check_choices("metrics", names, METRIC_KEYS)

    @field_validator("subset_metrics")
    @classmethod
    def _check_subset_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _check_choices("subset_metrics", names, METRIC_KEYS) if names else names

    @field_validator("preprocessing")
    @classmethod
    def _check_preprocessing(cls, name: str) -> str:
        return _check_choices("preprocessing", (name,), tuple(PREPROCESSINGS))[0]

    @model_validator(mode="after")
    def _check_transformed(self) -> Self:
        check_transformations(self.transformations)
        if (TRANSFORMED in self.conditions) != bool(self.transformations):
            raise ValueError(f"the condition {TRANSFORMED!r} and the table [transformations] need each other")
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if self.window_size and not (self.generators and self.subset_metrics):
            raise ValueError("window_size needs generators, in the order of their release, and subset_metrics")
        return self

    @model_validator(mode="after")
    def _check_threshold_split(self) -> Self:
        if self.threshold.false_positive_rate is not None and self.split in (self.threshold.split, "all"):
            raise ValueError(
                f"[threshold] takes thresholds from the split {self.threshold.split}, which is evaluated (split = "
                f"{self.split!r}); choose another one"
            )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _raise_evaluation_error(cls, content: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate, and raise EvaluationError. It is the last validator, and so runs around the others."""
        try:
            return validate(content)
        except ValidationError as error:
            raise EvaluationError(_describe_error(error)) from None

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over all that determines the numbers, except the dataset and the detectors."""
        excluded = {"name", "source", "training", "detectors", "dataset"}
        excluded |= set() if self.window_size else {"window_size"}  # protocols without windows had no such setting
        content = self.model_dump_json(exclude=excluded)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def list_preset_protocols() -> list[str]:
    """Return the names of the protocols that are part of the package."""
    folder = files("changeling.evaluation") / "protocols"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def load_protocol(name: str) -> Protocol:
    """Return a ready protocol by its name, or the one in a file.

    Raises:
        EvaluationError: there is no such protocol or file, it is not TOML, or has a wrong key or value.
    """
    presets = list_preset_protocols()
    if name in presets:
        text = (files("changeling.evaluation") / "protocols" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        text = _read_text(Path(name), presets)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EvaluationError(f"{name} is not TOML: {error}") from None
    return _validate(name, {"name": Path(name).stem} | content)


def _read_text(path: Path, presets: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EvaluationError(
            f"protocol {path}: no such file, and no ready protocol; {_suggest(str(path), presets)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from None


def _validate(where: str, content: Mapping[str, Any]) -> Protocol:
    """Return the protocol. Raises EvaluationError that says where it is."""
    try:
        return Protocol.model_validate(content)
    except EvaluationError as error:
        raise EvaluationError(f"{where}: {error}") from None


def _describe_error(error: ValidationError) -> str:
    """Return the first error in one line."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        tables: dict[str, type[_Settings]] = {"dataset": ExpectedDataset, "threshold": ThresholdSettings}
        model = tables.get(str(first["loc"][0]), Protocol)
        return f"there is no setting {location}; {_suggest(str(first['loc'][-1]), model.model_fields)}"
    if first["type"] == "value_error":
        return message
    return f"{location} = {first['input']!r}: {message[0].lower()}{message[1:]}"


def _check_choices(setting: str, names: tuple[str, ...], choices: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError(f"{setting} is empty; choose from {', '.join(choices)}")
    for name in names:
        if name not in choices:
            raise ValueError(f"{setting}: there is no {name!r}; {_suggest(name, choices)}")
    return tuple(dict.fromkeys(names))


def _suggest(name: str, choices: Iterable[str]) -> str:
    """Return a question with the most similar choice, or a list of all."""
    similar = difflib.get_close_matches(name, list(choices), 1, 0.5)
    return f"did you mean {similar[0]!r}?" if similar else f"choose from {', '.join(choices)}"
