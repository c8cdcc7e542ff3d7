"""Counts of written images, by what is on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from changeling.build.counts import BuildCounter, ImageCounts, count_build
from changeling.build.job import Build
from changeling.build.parents import child_seed
from changeling.build.parts import PARENTS, BuildPartFormat
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset
from tests.build.builds import (
    CAPTIONS,
    PART_SIZE,
    SPLITS,
)

CHILDREN = 7 * CAPTIONS


def reading(paths: list[str]) -> Callable[[BuildPartFormat, Path], pa.Table]:
    """BuildPartFormat.read, which also lists the paths that it reads."""
    read = BuildPartFormat.read

    def read_and_list(part_format: BuildPartFormat, path: Path) -> pa.Table:
        paths.append(f"{path.parent.name}/{path.name}")
        return read(part_format, path)

    return read_and_list


def without(build: Build, name: str, indices: Sequence[int]) -> Build:
    """Remove parts, and with them the dataset."""
    for index in indices:
        build.parts(name).path(index).unlink()
    (build.output / "images.parquet").unlink(missing_ok=True)
    return build


def test_every_image_of_a_finished_build_is_counted(whole: Build) -> None:
    rows = Dataset(whole.output).images.to_pylist()
    parents, picky, strict, rebuilt = count_build(whole)
    assert [count.name for count in (parents, picky, strict, rebuilt)] == [PARENTS, "picky", "strict", "tiny vae"]
    assert [count.total for count in (parents, picky, strict, rebuilt)] == [7, CHILDREN, CHILDREN, 7]
    assert [(count.done, count.remaining) for count in (parents, rebuilt)] == [(7, 0), (7, 0)]
    assert parents.by_split == rebuilt.by_split == {"train": 3, "val": 2, "test": 2}
    assert strict.by_status == {"flagged": CHILDREN}
    assert (strict.by_split, strict.redrawn, strict.remaining_bytes) == ({}, 0, 0)  # each was drawn once
    with_file = [row for row in rows if row["generator"] == "picky" and row["status"] == "ok"]
    redrawn = [
        row for row in with_file if row["seed"] > child_seed(0, row["cluster_id"], row["caption_index"], "picky")
    ]
    assert len(redrawn) >= 2
    assert picky.redrawn == len(redrawn) + picky.by_status["flagged"]
    assert picky.by_status["flagged"] >= 1
    assert picky.by_status["ok"] == len(with_file)
    assert picky.by_split == {split: sum(row["split"] == split for row in with_file) for split in SPLITS}


def test_the_remaining_images_of_an_unfinished_build_are_counted(copy: Build) -> None:
    rows = [row for row in Dataset(copy.output).images.to_pylist() if row["generator"] == "picky"]
    _, picky, strict, _ = count_build(without(without(copy, "picky", [2, 5]), "strict", range(6)))
    written = CHILDREN - PART_SIZE - 1  # the last part has one image
    assert (picky.done, picky.remaining, picky.total) == (written, PART_SIZE + 1, CHILDREN)
    assert (strict.done, strict.remaining) == (0, CHILDREN)
    splits = [
        row["split"] for row in rows[: 2 * PART_SIZE] + rows[3 * PART_SIZE : 5 * PART_SIZE] if row["status"] == "ok"
    ]
    assert picky.by_split == {split: splits.count(split) for split in SPLITS}


def test_the_size_of_remaining_files_is_estimated_from_written_ones(copy: Build) -> None:
    sizes = [path.stat().st_size for path in sorted((copy.output / "images" / "picky").rglob("*.*"))]
    without(copy, "picky", [4, 5])
    picky = count_build(copy)[1]
    assert picky.sampled_files == 4
    assert min(sizes) <= picky.remaining_bytes / (PART_SIZE + 1) <= max(sizes)
    assert ImageCounts("x", 10, sampled_files=2, sampled_bytes=20).remaining_bytes == 100


def test_counting_again_reads_only_new_parts(copy: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = BuildCounter(without(copy, "picky", [3]))
    counter.count()
    read: list[str] = []
    monkeypatch.setattr(BuildPartFormat, "read", reading(read))
    assert counter.count() == count_build(copy)
    read.clear()
    assert counter.count()[1].remaining == PART_SIZE
    assert read == []
    assert run_build(copy)
    read.clear()
    assert counter.count()[1].remaining == 0
    assert read == ["picky/part-00003.parquet"]
    assert counter.count() == count_build(copy)


def test_parts_that_were_removed_or_replaced_are_counted_again(copy: Build) -> None:
    counter = BuildCounter(copy)
    assert counter.count()[1].remaining == 0
    without(copy, "picky", [2])
    assert counter.count() == count_build(copy)
    part = copy.parts("strict")
    part.write(0, part.read_header(0), part.read(0).slice(1))
    assert counter.count() == count_build(copy)
    assert counter.count()[2].done == CHILDREN - 1
