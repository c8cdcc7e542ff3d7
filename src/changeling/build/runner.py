"""A build from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from changeling.build.job import Build
from changeling.build.page import Filling, write_page
from changeling.build.parts import PARENTS
from changeling.build.preflight import check_parents, try_batch
from changeling.build.record import agree, check_made, grown, kept, make_room, recorded
from changeling.build.status import free_bytes, in_bytes, until
from changeling.build.write import build_children, build_parents, join
from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.generators.families import fetch_generator, load_generator
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generators.base import Generator

Note = Callable[[str], object]
Make = Callable[[Build, str, Sequence[int], Progress, Note], None]
LONG = 64  # children: what is worth a trial first


def load(build: Build, name: str, threads: int | None = None) -> Generator:
    """Load a generator of the build as it was loaded when the build began, else with so many threads.

    Raises:
        BuildError: it cannot be had.
    """
    then = recorded(build.output, name) or {}
    return load_generator(kept(build.generators[name], then), build.root, then.get("threads") or threads)


def find(build: Build, name: str) -> None:
    """Fetch a generator's files, and see whether they can be used as the settings say. Raises BuildError."""
    then = recorded(build.output, name) or {}
    fetch_generator(kept(build.generators[name], then), build.root)


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
    others = [name for name in ("images.parquet", "images") if (build.output / name).exists()]
    if others and not (build.output / "build").exists():
        raise BuildError(
            f"{build.output} has images that were not built here, or build/ is gone; let `dataset` name a new folder"
        )
    every = {name: build.parts(name).indices[shard[0] :: shard[1]] for name in build.generators}
    every[PARENTS] = range(0) if shard[0] else build.parts(PARENTS).indices  # the first shard's alone
    again = {name: grown(build, name, mine) for name, mine in every.items()}
    asked = {name: sorted({*build.parts(name).missing, *again[name]} & {*every[name]}) for name in build.generators}
    for name in build.generators:
        check_made(build, name, sorted({*every[name]} - {*again[name]}))
    for name in (name for name, mine in asked.items() if mine):
        find(build, name)  # before hours are spent on the one before it
    check_parents(build)
    make_room(build, again)
    (build.output / "build").mkdir(parents=True, exist_ok=True)
    shown = Filling(build, progress)
    if shard[0] == 0:
        build_parents(build, shown)
    for name, mine in asked.items():
        if mine:
            (make or make_here)(build, name, mine, shown, note)
    made = join(build)
    write_page(build)
    return made


def make_here(build: Build, name: str, mine: Sequence[int], progress: Progress, note: Note) -> None:
    """Load a generator, try it if there is much to do, and make its parts."""
    generator = load(build, name)
    agree(build, name, generator)  # before the trial, which may take minutes
    _preflight(build, name, generator, build.parts(name).count_rows(mine), note)
    build_children(build, name, generator, mine, progress)


def parse_shard(text: str) -> tuple[int, int]:
    """Read "2/8". Raises BuildError if it is no shard."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise BuildError(f"--shard {text}: write I/N with I from 0 to N-1, such as 0/4")
    return int(index), int(count)


def _preflight(build: Build, name: str, generator: Generator, left: int, note: Note) -> None:
    if left < LONG:
        return
    trial = try_batch(build, name, generator, left)
    if trial.batch < build.settings.batch:
        note(f"{name}: {build.settings.batch} children at once do not fit into memory; {trial.batch} do")
    note(
        f"{name} on {generator.device}: one child took {trial.seconds:.2f} s and {in_bytes(trial.bytes)}; "
        f"{left:,} to go: {until(trial.seconds * left)}, {in_bytes(trial.bytes * left)} of "
        f"{in_bytes(free_bytes(build.output))} free"
    )
