"""Run a build: job -> parts to do -> draw -> encode -> write -> join."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from changeling.build.children import build_children
from changeling.build.draw import fetch_build_generator
from changeling.build.job import Build
from changeling.build.page import BuildPage
from changeling.build.parts import PARENTS
from changeling.build.plan import ALL_PARTS, Shard, plan_build, remove_outdated_parts
from changeling.build.preflight import Note, check_disk_for_parents, ignore_note
from changeling.build.write import join_dataset, write_parents
from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.files import check_output_folder
from changeling.progress import Progress, silent

ChildrenBuilder = Callable[[Build, str, Sequence[int], Progress, Note], None]


def run_build(
    build: Build,
    shard: Shard = ALL_PARTS,
    progress: Progress = silent,
    note: Note = ignore_note,
    build_generator: ChildrenBuilder = build_children,
) -> Dataset | None:
    """Build what is missing of a shard; return the dataset, or None while parts of other shards are missing.

    Processes and machines that share the folder can build a shard each. The last one to finish writes the dataset.
    Everything that can be refused is refused before anything is written or removed. `build_generator` builds the
    missing parts of one generator, by default in this process.

    Raises:
        BuildError: the build cannot start or go on. Finished parts are kept.
    """
    _check_output(build)
    check_output_folder(build.output)
    plan = plan_build(build, shard)
    for name in plan.generators:
        fetch_build_generator(build, name)
    check_disk_for_parents(build)
    remove_outdated_parts(build, plan)
    (build.output / "build").mkdir(parents=True, exist_ok=True)  # before there are images: see _check_output

    page = BuildPage(build)
    page.write()
    report = page.refresh_with(progress)
    write_parents(build, plan.to_write[PARENTS], report)
    for name, indices in plan.generators.items():
        build_generator(build, name, indices, report, note)
    dataset = join_dataset(build)
    page.write()
    return dataset


def _check_output(build: Build) -> None:
    """Raise BuildError if the dataset folder holds images that were not built."""
    has_images = any((build.output / name).exists() for name in ("images.parquet", "images"))
    if has_images and not (build.output / "build").exists():
        raise BuildError(
            f"{build.output} has images that were not built here, or build/ is gone; let `dataset` name a new folder"
        )
