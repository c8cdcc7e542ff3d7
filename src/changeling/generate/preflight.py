"""Before a long run: one child end to end, and whether disk and memory will do."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from changeling.errors import BuildError, ImageError
from changeling.generate.build import Build
from changeling.generate.draw import draw_part
from changeling.generate.encoding import Encoder
from changeling.generate.parts import PARENTS, PART
from changeling.generate.status import free_bytes

if TYPE_CHECKING:
    from changeling.generate.generators import Generator

ENOUGH = 1.05  # times the bytes that are expected
_TRIED = 4  # children at most, of as many clusters


@dataclass(frozen=True, slots=True)
class Trial:
    """What one child took: seconds to draw it, without the model's start, and the bytes of its file."""

    seconds: float
    bytes: int


def check_parents(build: Build) -> None:
    """Raise BuildError if the parents' files will not fit on the disk."""
    left = build.missing(PARENTS)
    paths = [build.parents.dataset.file(path) for path in build.parents.images["path"].to_pylist()[:64]]
    sizes = [path.stat().st_size for path in paths if path.exists()]
    if left and sizes:
        more = min(len(left) * PART, build.count(PARENTS))
        _check_disk(build, "its parents", sum(sizes) / len(sizes) * more)


def try_one(build: Build, name: str, generator: Generator, left: int) -> Trial:
    """Draw and encode a child that nobody keeps; raise BuildError if it fails, or `left` more will not fit."""
    encoder, seconds, size = Encoder(build.settings), 0.0, 0
    children = list({child.cluster_id: child for child in build.children(name, 0)}.values())[:_TRIED]
    draw_part(generator, children[:1], 0, 1)  # the first one starts the model
    for child in children:  # until there is a picture: a child may be flagged, or its parent unreadable
        began = time.perf_counter()
        (drawn,), _ = draw_part(generator, [child], 0, 1)
        seconds = time.perf_counter() - began
        if drawn.image:
            with suppress(ImageError):
                size = len(encoder.child(drawn.image, child.parent).data)
                break
    _check_disk(build, f"the children of {name}", size * left)
    return Trial(seconds, size)


def _check_disk(build: Build, what: str, size: float) -> None:
    free = free_bytes(build.output)
    if free < ENOUGH * size:
        raise BuildError(
            f"{build.output}: {what} will take about {size / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free"
        )
