"""study.toml: what a study runs, on what, and how; every setting that the paper leaves open has a name here."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from changeling.clusters.manifest import Dataset
from changeling.errors import StudyError
from changeling.generate.children import Parents
from changeling.generate.job import Build
from changeling.generate.settings import BuildSettings, GeneratorSettings, with_ready
from changeling.stats.metrics import Distance

BUNDLED = "bundled"  # as a dataset: the true clusters that the package carries
Name = Literal["distances", "probe", "retrieval", "disentangle", "embedding", "gallery", "confounds"]
NAMES: tuple[Name, ...] = get_args(Name)  # the paper's order, then ours


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DistancesSettings(_Settings):
    """Table 1."""

    distance: Distance = "cosine"


class ProbeSettings(_Settings):
    """Table 2. `C` is swept on the validation split unless it is given."""

    children: Literal["one", "all"] = "one"  # one random child a cluster, or all; classes weigh the same either way
    C: float | None = Field(default=None, gt=0)
    train_on: str = "all"  # whose children Table 2's probe is trained on: a generator, or "all"


class DisentangleSettings(_Settings):
    """Table 4."""

    temperature: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    lr: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=25, ge=1)
    batch: int = Field(default=1024, ge=8)  # images; the nearest number of whole clusters is taken
    C: float = Field(default=1.0, gt=0)  # of the probe on S; scikit-learn's default
    curve: bool = True  # also the curve over C and the non-linear probe


class EmbeddingSettings(_Settings):
    """Figures 6 and 7."""

    backbone: str = ""  # default: the study's last
    clusters: int = Field(default=1000, ge=8)  # drawn from the validation split, or from test where that has too few
    perplexity: float = Field(default=30.0, gt=1)


class GallerySettings(_Settings):
    """Figures 1, 3, 4 and 5."""

    backbone: str = ""  # default: the study's first
    clusters: int = Field(default=12, ge=1)
    pictures: int = Field(default=10, ge=1)


class Study(_Settings):
    """A study file. Paths are relative to the folder that the file is in."""

    dataset: str = BUNDLED
    output: str = "study"
    backbones: tuple[str, ...] = ()  # none: all that have features
    experiments: tuple[Name, ...] = NAMES
    seed: int = Field(default=0, ge=0)
    build: BuildSettings = BuildSettings()
    generators: Annotated[dict[str, GeneratorSettings], BeforeValidator(with_ready)] = {}
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
