"""A build from beginning to end, how far it is, and one child drawn again."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from changeling.clusters.manifest import Dataset
from changeling.errors import BuildError
from changeling.files import whole
from changeling.generate.build import Build, agree, build_children, build_parents, check_made, join, part_of, recorded
from changeling.generate.children import Child
from changeling.generate.draw import draw_part
from changeling.generate.encoding import Encoder
from changeling.generate.page import write_page
from changeling.generate.parts import PART, count_parts, image_path, part_path, read_header, read_part
from changeling.generate.preflight import check_parents, try_batch
from changeling.generate.status import Count, count, free_bytes, idle, until
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generate.generators import Generator

Note = Callable[[str], object]
Make = Callable[[Build, str, Sequence[int], Progress, Note], None]
LONG = 64  # children: what is worth a trial first
_PAGE = 20.0  # seconds between two writings of the page


def load(build: Build, name: str) -> Generator:
    """Load a generator of the build as it was loaded when the build began. Raises BuildError."""
    if not all(importlib.util.find_spec(library) for library in ("torch", "diffusers", "transformers")):
        raise BuildError(f"{name} needs diffusers: pip install 'changeling[generate]'")
    from changeling.generate import generators

    threads = (recorded(build.output, name) or {}).get("threads")
    return generators.load(build.generators[name], build.root, threads)


def run(
    build: Build,
    shard: tuple[int, int] = (0, 1),
    progress: Progress = silent,
    note: Note = lambda _: None,
    make: Make | None = None,
) -> Dataset | None:
    """Make what is missing of this shard, and the dataset itself if nothing is missing any more.

    Shard (i, n) is every n-th part from the i-th on: processes and machines that share the folder can work on their
    own, and one of them writes the dataset. `make` makes the parts of a generator that are missing, by default here.

    Raises:
        BuildError: with what is done kept.
    """
    check_parents(build)
    if shard[0] == 0:
        build_parents(build, progress)
    shown = _Page(build, progress)
    for name in build.generators:
        check_made(build, name, range(shard[0], count_parts(build.count(name)), shard[1]))
        mine = [index for index in build.missing(name) if index % shard[1] == shard[0]]
        if mine:
            (make or make_here)(build, name, mine, shown, note)
    made = join(build)
    write_page(build)
    return made


def make_here(build: Build, name: str, mine: Sequence[int], progress: Progress, note: Note) -> None:
    """Load a generator, try it if there is much to do, and make its parts."""
    generator = load(build, name)
    agree(build, name, generator)  # before the trial, which may take minutes
    _preflight(build, name, generator, min(len(mine) * PART, build.count(name)), note)
    build_children(build, name, generator, mine, progress)


def parse_shard(text: str) -> tuple[int, int]:
    """Read "2/8". Raises BuildError if it is no shard."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise BuildError(f"--shard {text}: write I/N with I from 0 to N-1, such as 0/4")
    return int(index), int(count)


def redraw(build: Build, image_id: str) -> Path:
    """Draw one child again and put its file back where it belongs; return its path.

    Raises:
        BuildError: there is no such child, it was flagged, or its bytes are no longer what they were.
    """
    name, child = _find(build, image_id)
    index = child.number // PART
    path = part_path(build.output, name, index)
    if not path.exists():
        raise BuildError(f"{image_id} is not made yet; `changeling build` makes it")
    row = read_part(path).to_pylist()[child.number % PART]
    header = read_header(path)
    generator = load(build, name)
    children = build.children(name, index)
    if header.made_of != part_of(agree(build, name, generator), children):
        raise BuildError(f"{image_id} was made of other parents, captions or settings than there are now")
    group = children if header.batch > 1 else [child]  # of a batch all are drawn, as they were
    drawn, _ = draw_part(generator, group, build.generators[name].redraws, header.batch)
    (one,) = (drawn for drawn in drawn if drawn.child.number == child.number)
    if one.image is None:
        raise BuildError(f"{image_id}: {one.error}")
    file = Encoder(build.settings).child(one.image, child.parent)
    target = build.output / image_path(name, child.number, file.suffix)
    return _put(target, file.data, row["sha256"], image_id, (header.device, generator.device))


def show_status(build: Build, console: Console) -> None:
    """Print how far the build is."""
    counts = count(build)
    table = Table("", "done", "of", "redrawn", "flagged", "unread", "per hour", "left", box=None, padding=(0, 2, 0, 0))
    for one in counts:
        unreadable = one.done - one.status["ok"] - one.status["flagged"]
        numbers = (one.done, one.total, one.redrawn, one.status["flagged"], unreadable, round(one.speed * 3600))
        left = "done" if not one.left else until(one.left / one.speed) if one.speed else "not known yet"
        table.add_row(escape(one.name), *(f"{number:,}" for number in numbers), left)
    for column in table.columns[1:7]:
        column.justify = "right"
    console.print(table)
    console.print(_disk(build, counts))
    state = "the dataset is written" if (build.output / "images.parquet").exists() else "the dataset is not written yet"
    quiet = idle(build)
    since = "" if quiet == float("inf") else f"; the last part was written {_ago(quiet)}"
    console.print(f"{state}{since}", highlight=False)


def _preflight(build: Build, name: str, generator: Generator, left: int, note: Note) -> None:
    if left < LONG:
        return
    trial = try_batch(build, name, generator, left)
    if trial.batch < build.settings.batch:
        note(f"{name}: {build.settings.batch} children at once do not fit into memory; {trial.batch} do")
    note(
        f"{name} on {generator.device}: one child took {trial.seconds:.2f} s and {trial.bytes / 1e3:.0f} kB; "
        f"about {left:,} to go: {until(trial.seconds * left)}, {trial.bytes * left / 1e9:.1f} GB of "
        f"{free_bytes(build.output) / 1e9:.0f} GB free"
    )


class _Page:
    """Progress that also writes the page anew now and then, so seldom that it takes no twentieth of the time."""

    def __init__(self, build: Build, progress: Progress) -> None:
        self._build, self._progress = build, progress
        self._next = time.monotonic() + _PAGE

    def __call__(self, what: str, done: int, total: int) -> None:
        self._progress(what, done, total)
        began = time.monotonic()
        if began > self._next:
            write_page(self._build)
            took = time.monotonic() - began
            self._next = began + took + max(_PAGE, 20 * took)


def _find(build: Build, image_id: str) -> tuple[str, Child]:
    for name in build.generators:
        if image_id.startswith(f"{name}/"):
            for index in range(-(-build.count(name) // PART)):
                for child in build.children(name, index):
                    if child.image_id == image_id:
                        return name, child
    raise BuildError(f"there is no child {image_id!r}; ids are in images.parquet, such as {_example(build)!r}")


def _example(build: Build) -> str:
    name = next(iter(build.generators))
    return build.children(name, 0)[0].image_id


def _put(path: Path, data: bytes, sha256: str | None, image_id: str, devices: tuple[str, str]) -> Path:
    if hashlib.sha256(data).hexdigest() != sha256:
        then, now = devices
        raise BuildError(
            f"{image_id} has other bytes now; nothing was written (it was drawn on {then}, this is {now}; or its file "
            "was recorded before it was changed)"
        )
    with whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def _disk(build: Build, counts: list[Count]) -> str:
    needed = sum(one.disk_left for one in counts)
    return f"disk: about {needed / 1e9:.1f} GB more are needed, {free_bytes(build.output) / 1e9:.1f} GB are free"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
