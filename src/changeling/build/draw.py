"""Draw the children of a part: in groups of a batch, and again where the safety checker objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from changeling.errors import BuildError, ImageError, Status
from changeling.generators.base import Child, OutOfMemoryError
from changeling.images.decode import read_file

if TYPE_CHECKING:
    from changeling.generators.base import Generator


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of a child: an RGB image and the seed it is from, or a status that says why there is none."""

    child: Child
    image: Image.Image | None
    seed: int | None = None
    status: Status = "ok"
    error: str | None = None


def draw_part(
    generator: Generator,
    children: Sequence[Child],
    redraws: int,
    batch: int,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[list[Drawn], int]:
    """Draw all children of a part; return them in order, and the batch that fitted.

    The same children, redraws and batch give the same images: if a batch does not fit, the part begins anew with
    half of it.

    Raises:
        BuildError: not even one child fits, or the model fails.
    """
    while True:
        try:
            return _drawn(generator, children, redraws, batch, told), batch
        except OutOfMemoryError:
            if batch == 1:
                raise BuildError(
                    "the device has too little memory for one child; choose a smaller size or precision = 'float16'"
                ) from None
            batch //= 2


def _drawn(
    generator: Generator, children: Sequence[Child], redraws: int, batch: int, told: Callable[[int], None]
) -> list[Drawn]:
    done: dict[int, Drawn] = {}
    waiting: list[Child] = []
    for child in children:
        try:
            read_file(child.parent, child.parent_hash)
            waiting.append(child)
        except ImageError as error:
            done[child.number] = _without(child, error)
    for more in range(redraws + 1):
        flagged: list[Child] = []
        for start in range(0, len(waiting), batch):
            group = waiting[start : start + batch]
            for one in _group(generator, group, more):
                if one.status == "flagged":
                    flagged.append(one.child)
                else:
                    done[one.child.number] = one
            told(len(done))
        waiting = flagged
    objection = f"the safety checker flagged it {f'{redraws + 1} times' if redraws else 'once'}"
    done |= {child.number: Drawn(child, None, status="flagged", error=objection) for child in waiting}
    return [done[child.number] for child in children]


def _group(generator: Generator, group: Sequence[Child], more: int) -> list[Drawn]:
    """Draw some children at once, one by one if a parent among them cannot be read."""
    seeds = [child.seed + more for child in group]
    try:
        images = generator.draw(group, seeds)
    except ImageError as error:
        if len(group) == 1:
            return [_without(group[0], error)]
        return [drawn for child in group for drawn in _group(generator, [child], more)]
    return [
        Drawn(child, image, seed, "ok" if image else "flagged")
        for child, image, seed in zip(group, images, seeds, strict=True)
    ]


def _without(child: Child, error: ImageError) -> Drawn:
    return Drawn(child, None, status=error.status, error=f"its parent: {error}")
