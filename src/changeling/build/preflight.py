"""Before a long run: draw and encode a few children, and check that the disk and the memory are large enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from changeling.build.counts import count_images
from changeling.build.draw import DrawnChild, draw_part
from changeling.build.encoding import Encoder
from changeling.build.estimate import format_bytes, format_time_left
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.errors import BuildError, ImageError
from changeling.files import free_bytes

if TYPE_CHECKING:
    from changeling.generators.base import Generator

Note = Callable[[str], object]
MIN_CHILDREN = 64  # fewer are drawn without a trial
DISK_MARGIN = 1.05  # times the expected size
_SAMPLED_PARENTS = 64
_MAX_TRIALS = 4  # batches


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial has measured.

    Attributes:
        seconds: the time to draw one child, without the model's start.
        bytes: the size of a child's file; 0 if no child has one.
        batch: how many children fit into memory at once.
    """

    seconds: float
    bytes: int
    batch: int


def ignore_note(line: str) -> None:
    """Ignore a note: the default of library functions."""


def run_preflight(build: Build, name: str, generator: Generator, child_count: int, note: Note) -> None:
    """Before many children are drawn: draw a batch end to end, and note the time and the disk space that they need.

    Raises:
        BuildError: the trial fails, or the children will not fit on the disk.
    """
    if child_count < MIN_CHILDREN:
        return
    trial = try_batch(build, name, generator, child_count)
    if trial.batch < build.settings.batch:
        note(f"{name}: {build.settings.batch} children at once do not fit into memory; {trial.batch} do")
    note(
        f"{name} on {generator.device}: one child took {trial.seconds:.2f} s and {format_bytes(trial.bytes)}; "
        f"{child_count:,} to go: {format_time_left(trial.seconds * child_count)}, "
        f"{format_bytes(trial.bytes * child_count)} of {format_bytes(free_bytes(build.output))} free"
    )


def try_batch(build: Build, name: str, generator: Generator, child_count: int) -> Trial:
    """Draw and encode a batch of children without writing them.

    Raises:
        BuildError: that fails, or `child_count` files of this size will not fit on the disk.
    """
    encoder, seconds, size = Encoder(build.settings), 0.0, 0
    children = sorted(build.list_children(name, 0), key=lambda child: child.caption_index or 0)
    _, batch = draw_part(generator, children[: build.settings.batch], 0, build.settings.batch)  # starts the model
    for start in range(0, min(len(children), _MAX_TRIALS * batch), batch):
        group = children[start : start + batch]
        began = time.perf_counter()
        drawn, _ = draw_part(generator, group, 0, batch)
        seconds = (time.perf_counter() - began) / len(group)
        size = _measure_file(encoder, drawn)
        if size:  # otherwise all were flagged, or their parents are unreadable
            break
    _check_disk(build, f"the children of {name}", size * child_count)
    return Trial(seconds, size, batch)


def check_disk_for_parents(build: Build) -> None:
    """Raise BuildError if the files of the missing parents will not fit on the disk, or no parent's file exists."""
    missing = build.parts(PARENTS).missing
    if not missing:
        return
    dataset = build.parents.dataset
    paths = [dataset.resolve_path(path) for path in build.parents.images["path"].to_pylist()[:_SAMPLED_PARENTS]]
    sizes = [path.stat().st_size for path in paths if path.exists()]
    if not sizes:
        raise BuildError(f"{dataset.path}: none of the first {len(paths)} parents' files is there")
    _check_disk(build, "its parents", sum(sizes) / len(sizes) * build.parts(PARENTS).count_rows(missing))


def check_disk_for_children(build: Build, name: str) -> None:
    """Raise BuildError if a generator's missing children will not fit on the disk, judged by those that are written."""
    _check_disk(build, f"the other children of {name}", count_images(build, name).remaining_bytes)


def _measure_file(encoder: Encoder, drawn: Sequence[DrawnChild]) -> int:
    """The size of the file of the first child that has one, in bytes; 0 if none has."""
    for child in drawn:
        if child.image:
            with suppress(ImageError):
                return len(encoder.encode_child(child.image, child.child.parent.file).data)
    return 0


def _check_disk(build: Build, what: str, size: float) -> None:
    free = free_bytes(build.output)
    if free < DISK_MARGIN * size:
        raise BuildError(
            f"{build.output}: {what} will take about {format_bytes(size)}, and the disk has {format_bytes(free)} free"
        )
