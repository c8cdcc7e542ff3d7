"""The study file: which experiments run, on which dataset and backbones, and with which settings."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.settings import BuildSettings
from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.errors import StudyError
from changeling.experiments.base import BackboneSettings, Settings
from changeling.experiments.registry import EXPERIMENTS
from changeling.files import StrPath
from changeling.generators.presets import fill_from_presets
from changeling.generators.settings import GeneratorSettings

ModelT = TypeVar("ModelT", bound=BaseModel)


class ReferenceSettings(Settings):
    """What the results of a study are compared with."""

    paper: bool = False  # the paper's values, beside ours where they are comparable


class Study(Settings):
    """The content of a study file. Paths are relative to the file's folder. A wrong name or value raises StudyError.

    Attributes:
        seeds: how often the probes of Tables 2 and 4, S and T are trained, with `seed`, `seed` + 1, ...
        settings: the settings of every experiment, by name; a study file has a table for each.
    """

    dataset: str = "bundled:reconstructions"
    output: str = "study"
    backbones: tuple[str, ...] = ()  # empty: all that have features
    experiments: tuple[str, ...] = tuple(EXPERIMENTS)
    seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=1, ge=1)
    reference: ReferenceSettings = ReferenceSettings()
    build: BuildSettings = BuildSettings()
    generators: Annotated[dict[str, GeneratorSettings], BeforeValidator(fill_from_presets)] = Field(default={})
    settings: Mapping[str, Settings] = Field(default={}, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _raise_study_error(cls, content: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(content)
        except ValidationError as error:
            raise StudyError(_describe_error(error)) from None

    @field_validator("dataset")
    @classmethod
    def _check_dataset(cls, dataset: str) -> str:
        if dataset.startswith("bundled:") and dataset not in BUNDLED:
            raise ValueError(f"dataset: there is no {dataset!r}; {_suggest(dataset, BUNDLED)}")
        return dataset

    @field_validator("experiments")
    @classmethod
    def _check_experiments(cls, experiments: tuple[str, ...]) -> tuple[str, ...]:
        if not experiments:
            raise ValueError(f"experiments is empty; choose from {', '.join(EXPERIMENTS)}")
        for name in experiments:
            if name not in EXPERIMENTS:
                raise ValueError(f"experiments: there is no {name!r}; {_suggest(name, EXPERIMENTS)}")
        return experiments

    @field_validator("settings")
    @classmethod
    def _add_default_settings(cls, settings: Mapping[str, Settings]) -> Mapping[str, Settings]:
        for name, given in settings.items():
            if name not in EXPERIMENTS or not isinstance(given, EXPERIMENTS[name].settings):
                raise ValueError(f"{type(given).__name__} is not the settings class of an experiment {name!r}")
        return {name: settings.get(name, experiment.settings()) for name, experiment in EXPERIMENTS.items()}

    def to_build(self, folder: Path) -> Build:
        """Return the build of a study whose file is in `folder`.

        Raises:
            StudyError: the study names no dataset to build, no parents or no generators.
            DatasetError: the parents are not a dataset.
            BuildError: the parents have no captions.
        """
        for is_wrong, message in (
            (self.dataset in BUNDLED, "set dataset to the folder to make, such as 'cocofake'"),
            (not self.build.parents, "set parents in [build] to a dataset with captions, such as 'coco'"),
            (not self.generators, 'add a generator, such as the table [generators."stable-diffusion-v1.4"]'),
        ):
            if is_wrong:
                raise StudyError(f"the study file does not say what to build; {message}")
        if (folder / self.dataset).resolve() == (folder / self.build.parents).resolve():
            raise StudyError("dataset and [build] parents are the same folder; the dataset is a new one")
        parents = Parents(Dataset(folder / self.build.parents), self.build.clusters)
        return Build(parents, folder / self.dataset, self.generators, self.build, self.seed, folder)

    def with_stored_names(self, names: Mapping[str, str]) -> Study:
        """Return the study with its backbones renamed by `names` to the names that their features are stored under."""
        settings = {
            name: given.model_copy(update={"backbone": names.get(given.backbone, given.backbone)})
            if isinstance(given, BackboneSettings)
            else given
            for name, given in self.settings.items()
        }
        return self.model_copy(update={"backbones": tuple(names.values()), "settings": settings})


def load_study(file: StrPath) -> Study:
    """Read a study file.

    Raises:
        StudyError: the file does not exist, is not TOML, or has a wrong key or value.
    """
    path = Path(file)
    content = _read_toml(path)
    for table, keys, given in _list_tables(content):
        for key in given if isinstance(given, dict) else ():
            if key not in keys:
                subject = f"[{table}] has no setting {key!r}" if table else f"there is no setting {key!r}"
                raise StudyError(f"{path}: {subject}; {_suggest_key(content, table, key, keys)}")
    settings = {
        name: _validate(path, experiment.settings, content.pop(name, {}), name)
        for name, experiment in EXPERIMENTS.items()
    }
    return _validate(path, Study, content | {"settings": settings})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file; `changeling init` writes one") from None
    except IsADirectoryError:
        raise StudyError(
            f"{path} is a folder, but not a dataset: it has no images.parquet; name a study file or a dataset folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from None


def _validate(path: Path, model: type[ModelT], content: object, *location: str) -> ModelT:
    """Return the model of a part of a study file. Raises StudyError with the location of the first error."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise StudyError(f"{path}: {_describe_error(error, *location)}") from None
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None


def _describe_error(error: ValidationError, *location: str) -> str:
    """Return the first error in one line, with its place in the study file."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*location, *first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"[{where}]: {message}" if "." in where else message
    if first["type"] == "extra_forbidden":
        return f"there is no setting {where}"
    message = message[0].lower() + message[1:].replace("valid tuple", "valid list")
    if first["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", first["ctx"]["expected"])
        similar = difflib.get_close_matches(str(first.get("input")), choices, 1, 0.5)
        message += f"; did you mean {similar[0]!r}?" if similar else ""
    return f"{where} = {first.get('input')!r}: {message}"


def _list_tables(content: dict[str, Any]) -> Iterator[tuple[str, list[str], Any]]:
    """Yield the name of every table of a study file ("" for the top level), its valid keys, and its content."""
    yield "", [*(name for name in Study.model_fields if name != "settings"), *EXPERIMENTS], content
    yield "reference", list(ReferenceSettings.model_fields), content.get("reference", {})
    yield "build", list(BuildSettings.model_fields), content.get("build", {})
    for name, experiment in EXPERIMENTS.items():
        yield name, list(experiment.settings.model_fields), content.get(name, {})
    generators = content.get("generators", {})
    for name, given in generators.items() if isinstance(generators, dict) else ():
        yield f"generators.{name}", list(GeneratorSettings.model_fields), given


def _suggest_key(content: dict[str, Any], table: str, key: str, keys: list[str]) -> str:
    """Return what was probably meant by a wrong key."""
    outer, _, name = table.partition(".")
    if outer == "generators" and isinstance(content[outer][name][key], dict):
        return f'quote a name with a dot: [generators."{name}.{key}"]'
    if not difflib.get_close_matches(key, keys, 1, 0.5):
        for other, other_keys, _ in _list_tables(content):
            if key in other_keys and other != table:
                return f"it belongs in [{other}]" if other else "it belongs above the first [table]"
    return _suggest(key, keys)


def _suggest(name: str, choices: Iterable[str]) -> str:
    """Return a question with the most similar choice, or a list of all."""
    similar = difflib.get_close_matches(name, list(choices), 1, 0.5)
    known = ", ".join(choices)
    if similar:
        return f"did you mean {similar[0]!r}?"
    return f"choose from {known}" if known else "it has no settings"
