"""The record of a generator: what determines its children, written when a build begins and checked when it resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import build_folder
from changeling.errors import BuildError
from changeling.files import atomic_write
from changeling.generators.base import Record
from changeling.generators.revision import is_commit
from changeling.generators.settings import OWN_CHECKER, RECORDED_NO_CHECKER, RECORDED_OWN_CHECKER, GeneratorSettings

if TYPE_CHECKING:
    from changeling.generators.base import Generator


def record_path(output: Path, name: str) -> Path:
    """The path of a generator's record in the dataset folder `output`."""
    return build_folder(output, name) / "generator.json"


def read_record(output: Path, name: str) -> Record | None:
    """Return the record of a generator, or None if there is none yet. Raises BuildError if it cannot be read."""
    path = record_path(output, name)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BuildError(f"{path} cannot be read; move its folder away and build again")
    return content


def write_or_check_record(build: Build, name: str, generator: Generator) -> Record:
    """Write the record of a loaded generator, or check that it equals the record that is there; return it.

    Raises:
        BuildError: the records differ. The message names the first difference.
    """
    record: Record = json.loads(json.dumps(generator.record | _job_record(build)))
    recorded = read_record(build.output, name)
    if recorded is None:
        with atomic_write(record_path(build.output, name)) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    else:
        _check_equal(build, name, recorded, record)
    return record


def check_record(build: Build, name: str) -> Record | None:
    """Check the record of a generator against the settings, without loading the model; return it, or None.

    Raises:
        BuildError: the settings differ from the record. The message names the first difference.
    """
    recorded = read_record(build.output, name)
    if recorded is not None:
        _check_equal(build, name, recorded, _apply_settings(build.generators[name], recorded) | _job_record(build))
    return recorded


def with_recorded_revisions(settings: GeneratorSettings, record: Record | None) -> GeneratorSettings:
    """The settings with the commits of the Hub that are on record, where the settings name no commit."""
    if record is None:
        return settings
    revision, checker = record.get("revision", ""), record.get("safety_checker", "")
    update = {}
    if record.get("model") == settings.model and not is_commit(settings.revision) and is_commit(revision):
        update["revision"] = revision
    if is_commit(checker.rpartition("@")[2]) and _is_same_checker(settings.safety_checker, checker):
        update["safety_checker"] = checker
    return settings.model_copy(update=update)


def _job_record(build: Build) -> Record:
    """What determines the children beside their generator."""
    return {"seed": build.seed, "saved": Encoder(build.settings).record}


def _apply_settings(settings: GeneratorSettings, recorded: Record) -> Record:
    """The record that these settings would give, as far as that is known without the model."""
    expected = recorded | {key: value for key, value in settings.model_dump().items() if key in recorded}
    is_left_open = {
        "revision": not is_commit(settings.revision) or not is_commit(recorded.get("revision", "")),
        "precision": settings.precision == "auto",
        "safety_checker": _is_same_checker(settings.safety_checker, recorded.get("safety_checker", "")),
        "scheduler": not settings.scheduler,
    }
    expected |= {key: recorded[key] for key, is_open in is_left_open.items() if is_open and key in recorded}
    if settings.scheduler and "scheduler" in recorded:
        expected["scheduler"] = recorded["scheduler"] | {"class": settings.scheduler}
    return expected


def _is_same_checker(setting: str, recorded: str) -> bool:
    """Whether the safety checker on record is the one of the settings, as far as the setting says which."""
    if setting == OWN_CHECKER:
        return recorded in (RECORDED_OWN_CHECKER, RECORDED_NO_CHECKER)
    recorded_model = recorded.rpartition("@")[0]
    if setting in (recorded, recorded_model):
        return True
    model, _, commit = setting.rpartition("@")
    return model != "" and model == recorded_model and not is_commit(commit)


def _check_equal(build: Build, name: str, recorded: Record, current: Record) -> None:
    """Raise BuildError if the records differ."""
    for key, recorded_value, current_value in _differences(recorded, current):
        raise BuildError(
            f"{build.output}: children of {name} were made with {key} {recorded_value!r}, now it is {current_value!r}; "
            f"go back, or move {record_path(build.output, name).parent} away to make all of them again"
        )


def _differences(recorded: Record, current: Record, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys of nested records with different values, as "outer.inner", and both values."""
    for key in (*recorded, *(key for key in current if key not in recorded)):
        old, new = recorded.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
