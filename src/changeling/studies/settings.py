"""study.toml: what a study runs, on what, and how; every setting that the paper leaves open has a name here."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from changeling.build.children import Parents
from changeling.build.job import Build
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset
from changeling.errors import StudyError
from changeling.experiments.settings import (
    NAMES,
    DisentangleSettings,
    DistancesSettings,
    EmbeddingSettings,
    GallerySettings,
    Name,
    ProbeSettings,
    Settings,
)
from changeling.generators.presets import fill_from_presets
from changeling.generators.settings import GeneratorSettings

BUNDLED = "bundled"  # as a dataset: the true clusters that the package carries


class Study(Settings):
    """A study file. Paths are relative to the folder that the file is in."""

    dataset: str = BUNDLED
    output: str = "study"
    backbones: tuple[str, ...] = ()  # none: all that have features
    experiments: tuple[Name, ...] = NAMES
    seed: int = Field(default=0, ge=0)
    build: BuildSettings = BuildSettings()
    generators: Annotated[dict[str, GeneratorSettings], BeforeValidator(fill_from_presets)] = Field(default={})
    distances: DistancesSettings = DistancesSettings()
    probe: ProbeSettings = ProbeSettings()
    disentangle: DisentangleSettings = DisentangleSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    gallery: GallerySettings = GallerySettings()

    @field_validator("experiments")
    @classmethod
    def _any(cls, experiments: tuple[Name, ...]) -> tuple[Name, ...]:
        if not experiments:
            raise ValueError(f"experiments names none; there are {', '.join(NAMES)}")
        return experiments

    def to_build(self, folder: Path) -> Build:
        """What this study, whose file is in `folder`, builds.

        Raises:
            StudyError: it names no dataset to make, no parents or no generators.
            DatasetError: the parents are not a dataset.
            BuildError: they have no captions.
        """
        for wrong, message in (
            (self.dataset == BUNDLED, "dataset names the folder that is to be made, such as 'cocofake'"),
            (not self.build.parents, "[build] parents names a dataset with captions, such as 'coco'"),
            (not self.generators, '[generators] names at least one, such as [generators."stable-diffusion-v1.4"]'),
        ):
            if wrong:
                raise StudyError(f"to build, {message}")
        if (folder / self.dataset).resolve() == (folder / self.build.parents).resolve():
            raise StudyError("dataset and [build] parents are the same folder; the dataset is a new one")
        parents = Parents(Dataset(folder / self.build.parents), self.build.clusters)
        return Build(parents, folder / self.dataset, self.generators, self.build, self.seed, folder)

    def naming(self, names: dict[str, str]) -> Study:
        """The same study, with backbones by the names that their features are kept under (no `@` for the default)."""
        shown = {
            name: table.model_copy(update={"backbone": names.get(table.backbone, table.backbone)})
            for name, table in (("embedding", self.embedding), ("gallery", self.gallery))
        }
        return self.model_copy(update={"backbones": tuple(names.values())} | shown)


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        StudyError: not there, not TOML, or a key or value that is wrong; the message names it, and what is right.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file; `changeling init` writes one") from None
    except IsADirectoryError:
        raise StudyError(
            f"{path} is a folder, but no dataset: it has no images.parquet; name a study file or a dataset folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not TOML: {error}") from None
    for table, key, known in _unknown(content):
        where = f"[{table}] has no setting {key!r}" if table else f"there is no setting {key!r}"
        raise StudyError(f"{path}: {where}; {_hint(content, table, key, known)}")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = first.get("input")
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise StudyError(f"{path}: {f'[{where}]: ' if '.' in where else ''}{message}") from None
        message = message[0].lower() + message[1:].replace("valid tuple", "valid list")
        if first["type"] == "literal_error":
            choices = re.findall(r"'([^']+)'", first["ctx"]["expected"])
            near = difflib.get_close_matches(str(given), choices, 1, 0.5)
            message += f"; did you mean {near[0]!r}?" if near else ""
        raise StudyError(f"{path}: {where} = {given!r}: {message}") from None


def _tables(content: dict[str, Any]) -> Iterator[tuple[str, type[BaseModel], Any]]:
    """Every table of a study file by name, the top one as '', and what the file says in it."""
    yield "", Study, content
    for name, field in Study.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation, content.get(name, {})
    generators = content.get("generators", {})
    for name, given in generators.items() if isinstance(generators, dict) else ():
        yield f"generators.{name}", GeneratorSettings, given


def _hint(content: dict[str, Any], table: str, key: str, known: list[str]) -> str:
    """What was probably meant by a key that is wrong."""
    outer, _, name = table.partition(".")
    if outer == "generators" and isinstance(content[outer][name][key], dict) and key not in known:
        return f'a name with a dot is quoted: [generators."{name}.{key}"]'
    near = difflib.get_close_matches(key, known, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    for name, model, _ in _tables(content):
        if key in model.model_fields and name != table:
            return f"it belongs in [{name}]" if name else "it belongs above the first [table]"
    return f"there are {', '.join(known)}"


def _unknown(content: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Keys that no table has: (table, key, the right keys)."""
    for table, model, given in _tables(content):
        if isinstance(given, dict):
            for key in given:
                if key not in model.model_fields:
                    yield table, key, list(model.model_fields)
