"""Draw the children of a part in batches, and those that the safety checker flags again from their next seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from changeling.build.job import Build
from changeling.build.record import read_record, with_recorded_revisions
from changeling.errors import BuildError, ImageError, Status
from changeling.generators.base import Child, OutOfMemoryError
from changeling.generators.families import fetch_generator, load_generator

if TYPE_CHECKING:
    from changeling.generators.base import Generator

DoneCallback = Callable[[int], None]  # called with the number of children that are done


@dataclass(frozen=True, slots=True)
class DrawnChild:
    """What was drawn for a child.

    Attributes:
        image: RGB, or None if there is none; `status` and `error` then say why.
        seed: the seed of the attempt that `image` is from.
    """

    child: Child
    image: Image.Image | None
    seed: int | None = None
    status: Status = "ok"
    error: str | None = None


def fetch_build_generator(build: Build, name: str) -> None:
    """Fetch the files of a generator of the build, at the revisions on record, and check that they can be used.

    Raises:
        BuildError: they cannot be fetched, or not be used with these settings.
    """
    fetch_generator(with_recorded_revisions(build.generators[name], read_record(build.output, name)), build.root)


def load_build_generator(build: Build, name: str, threads: int | None = None) -> Generator:
    """Load a generator of the build, at the revisions and with as many threads as are on record.

    If none are on record yet, the number of threads is `threads`.

    Raises:
        BuildError: it cannot be loaded.
    """
    record = read_record(build.output, name)
    settings = with_recorded_revisions(build.generators[name], record)
    return load_generator(settings, build.root, (record or {}).get("threads") or threads)


def draw_part(
    generator: Generator,
    children: Sequence[Child],
    redraws: int,
    batch: int,
    report_done: DoneCallback | None = None,
) -> tuple[list[DrawnChild], int]:
    """Draw all children of a part; return them in their order, and the batch size that fitted into memory.

    Equal children, redraws and batch sizes give equal images: if a batch does not fit into memory, the whole part is
    drawn again with half of it.

    Raises:
        BuildError: not even one child fits into memory, or the model fails.
    """
    while True:
        try:
            return _draw_children(generator, children, redraws, batch, report_done), batch
        except OutOfMemoryError:
            if batch == 1:
                raise BuildError(
                    "the device has too little memory for one child; choose a smaller size or precision = 'float16'"
                ) from None
            batch //= 2


def _draw_children(
    generator: Generator,
    children: Sequence[Child],
    redraws: int,
    batch: int,
    report_done: DoneCallback | None,
) -> list[DrawnChild]:
    done, pending = _check_parents(children)
    for attempt in range(redraws + 1):
        flagged: list[Child] = []
        for start in range(0, len(pending), batch):
            for drawn in _draw_batch(generator, pending[start : start + batch], attempt):
                if drawn.status == "flagged":
                    flagged.append(drawn.child)
                else:
                    done[drawn.child.number] = drawn
            if report_done:
                report_done(len(done))
        pending = flagged
    error = f"the safety checker flagged it {f'{redraws + 1} times' if redraws else 'once'}"
    done |= {child.number: DrawnChild(child, None, status="flagged", error=error) for child in pending}
    return [done[child.number] for child in children]


def _check_parents(children: Sequence[Child]) -> tuple[dict[int, DrawnChild], list[Child]]:
    """The children whose parent cannot be read, by number, and the other children."""
    failed: dict[int, DrawnChild] = {}
    readable: list[Child] = []
    for child in children:
        try:
            _ = child.parent.file
        except ImageError as error:
            failed[child.number] = _fail_by_parent(child, error)
        else:
            readable.append(child)
    return failed, readable


def _draw_batch(generator: Generator, children: Sequence[Child], attempt: int) -> list[DrawnChild]:
    """Draw children at once, or one by one if a parent among them cannot be read."""
    seeds = [child.seed + attempt for child in children]
    try:
        images = generator.draw(children, seeds)
    except ImageError as error:
        if len(children) == 1:
            return [_fail_by_parent(children[0], error)]
        return [drawn for child in children for drawn in _draw_batch(generator, [child], attempt)]
    return [
        DrawnChild(child, image, seed, "ok" if image else "flagged")
        for child, image, seed in zip(children, images, seeds, strict=True)
    ]


def _fail_by_parent(child: Child, error: ImageError) -> DrawnChild:
    return DrawnChild(child, None, status=error.status, error=f"its parent: {error}")
