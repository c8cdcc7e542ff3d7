"""Before a long run: one child end to end, and whether disk and memory will do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from changeling.errors import BuildError, ImageError
from changeling.generate.build import Build
from changeling.generate.draw import draw_part
from changeling.generate.encoding import Encoder
from changeling.generate.parts import PARENTS
from changeling.generate.status import free_bytes

if TYPE_CHECKING:
    from changeling.generate.generators import Generator

ENOUGH = 1.05  # times the bytes that are expected


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
        _check_disk(build, "its parents", sum(sizes) / len(sizes) * build.count(PARENTS) * len(left) / len(build.paths))


def try_one(build: Build, name: str, generator: Generator, left: int) -> Trial:
    """Draw and encode a child that nobody keeps; raise BuildError if it fails, or `left` more will not fit."""
    encoder = Encoder(build.settings)
    child = build.parents.children(name, build.generators[name], build.seed, 0, 1)[0]
    draw_part(generator, [child], 0, 1)  # the first one starts the model
    began = time.perf_counter()
    (drawn,), _ = draw_part(generator, [child], 0, 1)
    seconds = time.perf_counter() - began
    size = 0
    if drawn.image:
        try:
            size = len(encoder.child(drawn.image, child.parent).data)
        except ImageError as error:
            raise BuildError(f"{child.parent}: the first parent cannot be read: {error}") from None
    _check_disk(build, f"the children of {name}", size * left)
    return Trial(seconds, size)


def _check_disk(build: Build, what: str, size: float) -> None:
    free = free_bytes(build.output)
    if free < ENOUGH * size:
        raise BuildError(
            f"{build.output}: {what} will take about {size / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free"
        )
