"""Builds on a Ray cluster: actors draw the children of a part, tasks write them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from changeling.build.draw import DrawnChild, draw_part, load_build_generator
from changeling.build.job import Build
from changeling.build.parts import BuildHeader, hash_children
from changeling.build.preflight import Note, check_disk_for_children
from changeling.build.record import write_or_check_record
from changeling.build.runner import run_build
from changeling.build.write import write_children_part
from changeling.datasets.dataset import Dataset
from changeling.distributed.pipeline import MAX_PASSES, Pipeline, Shared
from changeling.distributed.session import connect_to_ray
from changeling.errors import DistributedError
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generators.base import Generator

DrawnPart = tuple[BuildHeader, Sequence[DrawnChild]]


def build_on_ray(build: Build, address: str, progress: Progress = silent) -> Dataset:
    """Build what is missing on the Ray cluster at `address`, and return the dataset.

    Raises:
        DistributedError: there is no such Ray cluster, or parts are lost repeatedly.
        BuildError: as `run_build` does. Finished parts are kept.
    """
    with connect_to_ray(address) as ray:
        dataset = run_build(build, progress=progress, build_generator=partial(_build_children, ray))
    if dataset is None:
        raise DistributedError(
            f"{build.output}: parts are missing after {MAX_PASSES} passes; finished parts are kept, start again to "
            "continue"
        )
    return dataset


def _build_children(ray: Any, build: Build, name: str, indices: Sequence[int], progress: Progress, _note: Note) -> None:
    """Build the parts of a generator. Parts that are lost with a machine are built in the next pass."""
    parts = build.parts(name)
    for _ in range(MAX_PASSES):
        missing = [index for index in indices if not parts.exists(index)]
        if not missing:
            break
        check_disk_for_children(build, name)
        done = parts.row_count - parts.count_rows(missing)
        with closing(_draw_and_write(ray, build, name, missing).run()) as image_counts:
            for number, image_count in enumerate(image_counts):
                done += image_count
                progress(name, done, parts.row_count)
                if number == 0:
                    check_disk_for_children(build, name)  # the first part shows how much space the others take


def _draw_and_write(ray: Any, build: Build, name: str, indices: Sequence[int]) -> Pipeline:
    from changeling.generators.runtime import default_threads

    shared = Shared.pack(build)
    pipeline = Pipeline(ray, dict.fromkeys(indices))
    pipeline.add_actors(DrawStage(shared, name, default_threads()))
    pipeline.add_tasks(WriteStage(shared, name))
    return pipeline


@dataclass(frozen=True)
class DrawStage:
    """Draw the children of a part; the generator is loaded with the first part."""

    build: Shared[Build]
    name: str
    threads: int

    @cached_property
    def generator(self) -> Generator:
        """The generator, as it was loaded when the build began."""
        return load_build_generator(self.build.unpack(), self.name, self.threads)

    def __call__(self, index: int, _: None) -> DrawnPart:
        """Return the drawn children, and the header of their part."""
        build = self.build.unpack()
        children = build.list_children(self.name, index)
        made_of = hash_children(write_or_check_record(build, self.name, self.generator), children)
        redraws = build.generators[self.name].redraws
        drawn, batch = draw_part(self.generator, children, redraws, build.settings.batch)
        return BuildHeader(made_of=made_of, batch=batch, device=self.generator.device), drawn


@dataclass(frozen=True)
class WriteStage:
    """Write the image files of a part, then the part."""

    build: Shared[Build]
    name: str

    def __call__(self, index: int, part: DrawnPart) -> int:
        """Return how many images the part has."""
        build = self.build.unpack()
        header, drawn = part
        write_children_part(build, self.name, index, header, drawn)
        return len(drawn)
