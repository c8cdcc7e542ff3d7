"""Make children part by part; what exists is whole, what is missing is made again, and the dataset is written last."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from changeling.clusters.manifest import Dataset, ImageRow
from changeling.errors import BuildError, ImageError
from changeling.files import whole
from changeling.generate.children import Child, Parents
from changeling.generate.draw import Drawn, draw_part
from changeling.generate.encoding import Encoder, File, check_parent, save
from changeling.generate.parts import (
    PARENTS,
    PART,
    Header,
    count_parts,
    image_path,
    join_parts,
    made_of,
    part_path,
    read_header,
    slug,
    write_part,
)
from changeling.generate.settings import ITS_OWN, NO_CHECKER, OWN, BuildSettings, GeneratorSettings, is_commit
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generate.generators import Generator


@dataclass(frozen=True, slots=True)
class Build:
    """All that a build is made of.

    Attributes:
        output: the dataset folder that is made.
        root: the folder that local models are looked for in.
    """

    parents: Parents
    output: Path
    generators: dict[str, GeneratorSettings]
    settings: BuildSettings
    seed: int
    root: Path

    def count(self, name: str) -> int:
        """How many images there are to be, of a generator or of `PARENTS`."""
        return len(self.parents) if name == PARENTS else self.parents.count(self.generators[name])

    def missing(self, name: str) -> list[int]:
        """The parts that are not there yet, in order."""
        parts = range(count_parts(self.count(name)))
        return [index for index in parts if not part_path(self.output, name, index).exists()]

    def children(self, name: str, index: int) -> list[Child]:
        """The children of one part."""
        start = index * PART
        return self.parents.children(name, self.generators[name], self.seed, start, start + PART)

    @property
    def paths(self) -> list[Path]:
        """All parts that there are to be, parents first."""
        names = (PARENTS, *self.generators)
        return [part_path(self.output, name, i) for name in names for i in range(count_parts(self.count(name)))]


def build_parents(build: Build, progress: Progress = silent) -> None:
    """Save the parents by the policy of the build."""
    encoder = Encoder(build.settings)
    total = build.count(PARENTS)
    with _keeping(build.output), ThreadPoolExecutor(4) as pool:
        for index in range(count_parts(total)):
            start = index * PART
            rows = build.parents.images.slice(start, PART).to_pylist()
            header = Header(
                made_of=made_of(encoder.record, [(row["image_id"], row["sha256"]) for row in rows]), batch=1, device=""
            )
            path = part_path(build.output, PARENTS, index)
            if not same(path, header):
                numbered = enumerate(rows, start)
                write_part(path, header, list(pool.map(lambda one: _parent(build, encoder, *one), numbered)))
            progress(PARENTS, start + len(rows), total)


def build_children(
    build: Build, name: str, generator: Generator, mine: Sequence[int], progress: Progress = silent
) -> None:
    """Make those parts of a generator that are `mine` and not there yet; saving runs beside drawing.

    Raises:
        BuildError: parts exist that were made of something else, the model fails, or the disk is full.
    """
    encoder, batch, total = Encoder(build.settings), build.settings.batch, build.count(name)
    record = agree(build, name, generator)
    saving: Future[None] | None = None
    with _keeping(build.output), ThreadPoolExecutor(1) as pool:
        for index in mine:
            children = build.children(name, index)
            path = part_path(build.output, name, index)
            header = Header(made_of=part_of(record, children), batch=batch, device=generator.device)
            if not same(path, header):
                told = _beside(progress, name, index * PART, total)
                drawn, batch = draw_part(generator, children, build.generators[name].redraws, batch, told)
                if saving:
                    saving.result()
                header = header.model_copy(update={"batch": batch})
                saving = pool.submit(save_part, build.output, name, path, header, drawn, encoder)
            progress(name, min((index + 1) * PART, total), total)
        if saving:
            saving.result()


def save_part(output: Path, name: str, path: Path, header: Header, drawn: Sequence[Drawn], encoder: Encoder) -> None:
    """Write the image files of a part, then the part."""
    write_part(path, header, [_child(output, name, one, encoder) for one in drawn])


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


def kept(settings: GeneratorSettings, then: dict[str, Any]) -> GeneratorSettings:
    """The settings with those commits of the Hub that they leave open, and that are on record."""
    revision, checker = then.get("revision", ""), then.get("safety_checker", "")
    update = {}
    if then.get("model") == settings.model and not settings.revision and is_commit(revision):
        update["revision"] = revision
    if checker.partition("@")[0] == settings.safety_checker and is_commit(checker.partition("@")[2]):
        update["safety_checker"] = checker
    return settings.model_copy(update=update)


def part_of(record: dict[str, Any], children: Sequence[Child]) -> str:
    """The hash of all that a part of children is made of."""
    return made_of(
        json.dumps(record, sort_keys=True), [(one.image_id, one.prompt, one.seed, one.parent_hash) for one in children]
    )


def same(path: Path, wanted: Header) -> bool:
    """Whether a part is there. Raises BuildError if it is, but was made of something else."""
    if not path.exists():
        return False
    if read_header(path).made_of != wanted.made_of:
        raise BuildError(
            f"{path} was made of other parents, captions or settings; move its folder away to make all of them again"
        )
    return True


def join(build: Build) -> Dataset | None:
    """Write the dataset's own files, images.parquet last, if all parts are there."""
    paths = build.paths
    if not all(path.exists() for path in paths):
        return None
    with _keeping(build.output):
        with whole(build.output / "generators.json") as temporary:
            told = {name: recorded(build.output, name) for name in build.generators}
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        with whole(build.output / "captions.parquet") as temporary:
            pq.write_table(build.parents.captions.replace_schema_metadata(None), temporary)
        join_parts(paths, build.output / "images.parquet")
    return Dataset(build.output)


def _parent(build: Build, encoder: Encoder, number: int, row: dict[str, Any]) -> ImageRow:
    """Save a parent; what cannot be read becomes a row that says so."""
    kept = {name: row[name] for name in ("image_id", "cluster_id", "role", "split", "source")}
    path = build.parents.dataset.file(row["path"])
    try:
        check_parent(path, row["sha256"] or "")
        file = encoder.parent(path)
    except ImageError as error:
        return ImageRow(**kept, path="", status=error.status, error=str(error))
    return ImageRow(**kept, **_saved(build.output, PARENTS, number, file))


def _child(output: Path, name: str, drawn: Drawn, encoder: Encoder) -> ImageRow:
    child = drawn.child
    told: dict[str, Any] = {
        "image_id": child.image_id,
        "cluster_id": child.cluster_id,
        "role": "child",
        "split": child.split,
        "source": child.source,
        "caption_index": child.caption_index,
        "generator": name,
    }
    if drawn.image is None:
        return ImageRow(**told, path="", status=drawn.status, error=drawn.error)
    try:
        file = encoder.child(drawn.image, child.parent)
    except ImageError as error:
        return ImageRow(**told, path="", status=error.status, error=f"its parent: {error}")
    return ImageRow(**told, **_saved(output, name, child.number, file), seed=drawn.seed)


def _saved(output: Path, name: str, number: int, file: File) -> dict[str, Any]:
    """Write an image file; return what its row says of it."""
    path = image_path(name, number, file.suffix)
    sha256 = save(output / path, file.data)
    return {"path": path, "width": file.width, "height": file.height, "format": file.format, "sha256": sha256}


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


def _beside(progress: Progress, name: str, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(name, before + done, total)


@contextmanager
def _keeping(output: Path) -> Iterator[None]:
    """Say what a full disk means for what is done."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BuildError(f"{output}: the disk is full; what is done is kept: make room and start again") from None
