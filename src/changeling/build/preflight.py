"""Before a long run: a few children end to end, and whether disk and memory will do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from changeling.build.draw import Drawn, draw_part
from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.status import count_one, free_bytes, in_bytes
from changeling.errors import BuildError, ImageError

if TYPE_CHECKING:
    from changeling.generators.base import Generator

ENOUGH = 1.05  # times the bytes that are expected
_TRIED = 4  # batches at most


@dataclass(frozen=True, slots=True)
class Trial:
    """What one child took: seconds to draw it, without the model's start, and the bytes of its file.

    Attributes:
        batch: how many fit into memory at once.
    """

    seconds: float
    bytes: int
    batch: int


def check_parents(build: Build) -> None:
    """Raise BuildError if the parents' files will not fit on the disk."""
    left = build.parts(PARENTS).missing
    paths = [build.parents.dataset.resolve_path(path) for path in build.parents.images["path"].to_pylist()[:64]]
    sizes = [path.stat().st_size for path in paths if path.exists()]
    if left and not sizes:
        raise BuildError(f"{build.parents.dataset.path}: none of the first {len(paths)} parents' files is there")
    if left:
        _check_disk(build, "its parents", sum(sizes) / len(sizes) * build.parts(PARENTS).count_rows(left))


def check_children(build: Build, name: str) -> None:
    """Raise BuildError if what is left of a generator's children will not fit, by the files that are there."""
    _check_disk(build, f"the other children of {name}", count_one(build, name).disk_left)


def try_batch(build: Build, name: str, generator: Generator, left: int) -> Trial:
    """Draw and encode children that nobody keeps; raise BuildError if that fails, or `left` more will not fit."""
    encoder, seconds, size = Encoder(build.settings), 0.0, 0
    children = sorted(build.children(name, 0), key=lambda child: child.caption_index or 0)
    _, batch = draw_part(generator, children[: build.settings.batch], 0, build.settings.batch)  # starts the model
    for start in range(0, min(len(children), _TRIED * batch), batch):
        group = children[start : start + batch]
        began = time.perf_counter()
        drawn, _ = draw_part(generator, group, 0, batch)
        seconds = (time.perf_counter() - began) / len(group)
        size = _bytes(encoder, drawn)
        if size:  # else they were flagged, or their parents are unreadable
            break
    _check_disk(build, f"the children of {name}", size * left)
    return Trial(seconds, size, batch)


def _bytes(encoder: Encoder, drawn: Sequence[Drawn]) -> int:
    """What the file of the first child takes that has one; 0 if none has."""
    for one in drawn:
        if one.image:
            with suppress(ImageError):
                return len(encoder.child(one.image, one.child.parent).data)
    return 0


def _check_disk(build: Build, what: str, size: float) -> None:
    free = free_bytes(build.output)
    if free < ENOUGH * size:
        raise BuildError(
            f"{build.output}: {what} will take about {in_bytes(size)}, and the disk has {in_bytes(free)} free"
        )
