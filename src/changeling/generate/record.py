"""What decides how children look, written down when a build begins, so that all of them are made alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from changeling.clusters.manifest import Dataset
from changeling.errors import BuildError
from changeling.files import whole
from changeling.generate.children import Child
from changeling.generate.encoding import Encoder
from changeling.generate.job import Build
from changeling.generate.parts import PARENTS, PART, Header, made_of, part_path, read_header, slug
from changeling.generate.settings import ITS_OWN, NO_CHECKER, OWN, GeneratorSettings, is_commit

if TYPE_CHECKING:
    from changeling.generate.generators import Generator


def agree(build: Build, name: str, generator: Generator) -> dict[str, Any]:
    """Write down what decides how a generator's children look, or check that it is what was written down.

    Raises:
        BuildError: it is not: naming what differs.
    """
    now: dict[str, Any] = json.loads(json.dumps(generator.record | _decided(build)))
    then = recorded(build.output, name)
    if then is None:
        with whole(_record_path(build.output, name)) as temporary:
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
            header = Header(made_of=part_of(then, build.children(name, index)), batch=1, device="")
            same(part_path(build.output, name, index), header)


def kept(settings: GeneratorSettings, then: dict[str, Any]) -> GeneratorSettings:
    """The settings with those commits of the Hub that they leave open, and that are on record."""
    revision, checker = then.get("revision", ""), then.get("safety_checker", "")
    update = {}
    if then.get("model") == settings.model and not settings.revision and is_commit(revision):
        update["revision"] = revision
    if checker.partition("@")[0] == settings.safety_checker and is_commit(checker.partition("@")[2]):
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
    return made_of(
        json.dumps(record, sort_keys=True), [(one.image_id, one.prompt, one.seed, one.parent_hash) for one in children]
    )


def parents_of(build: Build, rows: Sequence[dict[str, Any]]) -> str:
    """The hash of all that a part of parents is made of."""
    return made_of(Encoder(build.settings).record, [(row["image_id"], row["sha256"]) for row in rows])


def same(path: Path, wanted: Header) -> bool:
    """Whether a part is there. Raises BuildError if it is, but was made of something else."""
    if not path.exists():
        return False
    if read_header(path).made_of != wanted.made_of:
        what = "other parents, or saved in another way" if path.parent.name == PARENTS else "other parents or captions"
        raise BuildError(f"{path} was made of {what}; move its folder away to make all of them again")
    return True


def make_room(build: Build) -> None:
    """Prepare a build to be made larger, or in part again.

    A last part that was not full, and is now to hold more, is removed: its images are made again, the same. So is
    images.parquet if it names what is to be made again: until then the folder is no dataset.
    """
    for name in (PARENTS, *build.generators):
        there = [path for path in build.paths_of(name) if path.exists()]
        if there and _has_grown(build, name, there[-1]):
            there[-1].unlink()
    table = build.output / "images.parquet"
    if table.exists():
        listed = set(Dataset(build.output).column("generator"))
        if any(build.missing(name) for name in listed & build.generators.keys()) or build.missing(PARENTS):
            table.unlink()


def _has_grown(build: Build, name: str, path: Path) -> bool:
    """Whether a part has the first of the images that it would have now, and not all."""
    start = build.paths_of(name).index(path) * PART
    found, had = read_header(path).made_of, pq.read_metadata(path).num_rows
    if had >= min(PART, build.count(name) - start):
        return False
    if name == PARENTS:
        return found == parents_of(build, build.parents.images.slice(start, had).to_pylist())
    return found == part_of(recorded(build.output, name) or {}, build.children(name, start // PART)[:had])


def _record_path(output: Path, name: str) -> Path:
    return output / "build" / slug(name) / "generator.json"


def _asked(settings: GeneratorSettings, then: dict[str, Any]) -> dict[str, Any]:
    """The record as the settings would have it, in all that can be told without the model."""
    asked = then | {key: value for key, value in settings.model_dump().items() if key in then}
    checker, found = settings.safety_checker, then.get("safety_checker", "")
    own = checker == OWN and found in (ITS_OWN, NO_CHECKER)
    same_checker = own or checker in (found, found.partition("@")[0])
    open_ones = {
        "revision": not is_commit(settings.revision) or not is_commit(then.get("revision", "")),
        "precision": settings.precision == "auto",
        "safety_checker": same_checker,
        "scheduler": not settings.scheduler,
    }
    asked |= {key: then[key] for key, is_open in open_ones.items() if is_open and key in then}
    if settings.scheduler and "scheduler" in then:
        asked["scheduler"] = then["scheduler"] | {"class": settings.scheduler}
    return asked


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
