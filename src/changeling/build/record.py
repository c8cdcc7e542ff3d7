"""What decides how children look, written down when a build begins, so that all of them are made alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import PARENTS, BuildParts, build_folder, count_written_rows, hash_sources
from changeling.errors import BuildError
from changeling.files import atomic_write
from changeling.generators.base import Child
from changeling.generators.revision import is_commit
from changeling.generators.settings import OWN_CHECKER, RECORDED_NO_CHECKER, RECORDED_OWN_CHECKER, GeneratorSettings

if TYPE_CHECKING:
    from changeling.generators.base import Generator


def agree(build: Build, name: str, generator: Generator) -> dict[str, Any]:
    """Write down what decides how a generator's children look, or check that it is what was written down.

    Raises:
        BuildError: it is not: naming what differs.
    """
    now: dict[str, Any] = json.loads(json.dumps(generator.record | _decided(build)))
    then = recorded(build.output, name)
    if then is None:
        with atomic_write(_record_path(build.output, name)) as temporary:
            temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    else:
        _compare(build, name, then, now)
    return now


def check_made(build: Build, name: str, mine: Iterable[int]) -> None:
    """Check, without the generator, that those parts that are `mine` and there are what would be made now.

    Raises:
        BuildError: they are not: naming what differs.
    """
    then = recorded(build.output, name)
    if then is not None:
        _compare(build, name, then, _asked(build.generators[name], then) | _decided(build))
        for index in mine:
            same(build.parts(name), index, part_of(then, build.children(name, index)))


def kept(settings: GeneratorSettings, then: dict[str, Any]) -> GeneratorSettings:
    """The settings with those commits of the Hub that they leave open, and that are on record."""
    revision, checker = then.get("revision", ""), then.get("safety_checker", "")
    update = {}
    if then.get("model") == settings.model and not is_commit(settings.revision) and is_commit(revision):
        update["revision"] = revision
    if is_commit(checker.rpartition("@")[2]) and _same_checker(settings.safety_checker, checker):
        update["safety_checker"] = checker
    return settings.model_copy(update=update)


def recorded(output: Path, name: str) -> dict[str, Any] | None:
    """What decides how a generator's children look, if any were made."""
    path = _record_path(output, name)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BuildError(f"{path} cannot be read; move its folder away and build again")
    return content


def part_of(record: dict[str, Any], children: Sequence[Child]) -> str:
    """The hash of all that a part of children is made of."""
    return hash_sources(
        json.dumps(record, sort_keys=True), [(one.image_id, one.prompt, one.seed, one.parent_hash) for one in children]
    )


def parents_of(build: Build, rows: Sequence[dict[str, Any]]) -> str:
    """The hash of all that a part of parents is made of."""
    return hash_sources(Encoder(build.settings).record, [(row["image_id"], row["sha256"]) for row in rows])


def same(parts: BuildParts, index: int, made_of: str) -> bool:
    """Whether a part is there. Raises BuildError if it is, but was made of something else."""
    if not parts.exists(index):
        return False
    if parts.read_header(index).made_of != made_of:
        path = parts.path(index)
        what = "more clusters, other parents or captions"
        if path.parent.name == PARENTS:
            what = "more clusters or other parents, or saved in another way"
        raise BuildError(f"{path} was made of {what}; move its folder away to make all of them again")
    return True


def grown(build: Build, name: str, indices: Iterable[int]) -> list[int]:
    """Those parts of a generator, or of `PARENTS`, that hold the first of the images that they would hold now."""
    found = []
    parts = build.parts(name)
    for index in filter(parts.exists, indices):
        had = count_written_rows(parts, index)
        if had < parts.count_rows([index]) and parts.read_header(index).made_of == _first_of(build, name, index, had):
            found.append(index)
    return found


def make_room(build: Build, again: Mapping[str, Sequence[int]]) -> None:
    """Remove parts that are to be made again, and images.parquet if it names any of their images.

    Until all are made the folder is no dataset.
    """
    for name, indices in again.items():
        for index in indices:
            build.parts(name).remove(index)
    table = build.output / "images.parquet"
    lacking = [name for name in (PARENTS, *build.generators) if build.parts(name).missing]
    if lacking and table.exists():
        with suppress(FileNotFoundError):  # another process was faster
            listed = set(pq.read_table(table, columns=["generator"])["generator"].unique().to_pylist())
            if PARENTS in lacking or listed & set(lacking):
                table.unlink()


def _first_of(build: Build, name: str, index: int, count: int) -> str:
    """The hash of what the first images of a part are made of."""
    if name == PARENTS:
        start, _ = build.parts(name).row_range(index)
        return parents_of(build, build.parents.images.slice(start, count).to_pylist())
    return part_of(recorded(build.output, name) or {}, build.children(name, index)[:count])


def _record_path(output: Path, name: str) -> Path:
    return build_folder(output, name) / "generator.json"


def _asked(settings: GeneratorSettings, then: dict[str, Any]) -> dict[str, Any]:
    """The record as the settings would have it, in all that can be told without the model."""
    asked = then | {key: value for key, value in settings.model_dump().items() if key in then}
    open_ones = {
        "revision": not is_commit(settings.revision) or not is_commit(then.get("revision", "")),
        "precision": settings.precision == "auto",
        "safety_checker": _same_checker(settings.safety_checker, then.get("safety_checker", "")),
        "scheduler": not settings.scheduler,
    }
    asked |= {key: then[key] for key, is_open in open_ones.items() if is_open and key in then}
    if settings.scheduler and "scheduler" in then:
        asked["scheduler"] = then["scheduler"] | {"class": settings.scheduler}
    return asked


def _same_checker(asked: str, found: str) -> bool:
    """Whether a safety checker on record is the one that is asked for, as far as that says which."""
    if asked == OWN_CHECKER:
        return found in (RECORDED_OWN_CHECKER, RECORDED_NO_CHECKER)
    name, _, commit = asked.rpartition("@")
    named = found.rpartition("@")[0]
    return asked in (found, named) or (name != "" and name == named and not is_commit(commit))


def _decided(build: Build) -> dict[str, Any]:
    """What decides how children look beside their generator."""
    return {"seed": build.seed, "saved": Encoder(build.settings).record}


def _compare(build: Build, name: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise BuildError if children would be made in another way now."""
    for key, was, is_now in _differences(then, now):
        raise BuildError(
            f"{build.output}: children of {name} were made with {key} {was!r}, now it is {is_now!r}; "
            f"go back, or move {_record_path(build.output, name).parent} away to make all of them again"
        )


def _differences(then: dict[str, Any], now: dict[str, Any], above: str = "") -> Iterator[tuple[str, object, object]]:
    for key in (*then, *(key for key in now if key not in then)):
        was, is_now = then.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(is_now, dict):
            yield from _differences(was, is_now, f"{above}{key}.")
        elif was != is_now:
            yield f"{above}{key}", was, is_now
