"""Counts of the images that a build has written: by status and split, how fast, and how large."""

from __future__ import annotations

import heapq
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from changeling.build.job import Build
from changeling.build.parents import child_seed
from changeling.build.parts import PARENTS

RECENT_PARTS = 20  # over which the speed is measured
_SAMPLED_FILES = 64


@dataclass(slots=True)
class ImageCounts:
    """Counts of the written images of a generator or of the parents.

    Attributes:
        total: how many images there are when the build is finished.
        by_status: the written images by status; only those that are "ok" have a file.
        by_split: the images that are "ok", by split.
        redrawn: children that were drawn more than once, because the safety checker had flagged an earlier attempt.
        images_per_second: over the last parts; 0 if it is not known yet.
        sampled_files: how many files were measured, and `sampled_bytes` their size together.
    """

    name: str
    total: int
    by_status: Counter[str] = field(default_factory=Counter)
    by_split: Counter[str] = field(default_factory=Counter)
    redrawn: int = 0
    images_per_second: float = 0.0
    sampled_bytes: int = 0
    sampled_files: int = 0

    @property
    def done(self) -> int:
        """How many images are done, with or without a file."""
        return self.by_status.total()

    @property
    def remaining(self) -> int:
        """How many images are not done yet."""
        return max(0, self.total - self.done)

    @property
    def flagged(self) -> int:
        """How many children the safety checker flagged on every attempt."""
        return self.by_status["flagged"]

    @property
    def unreadable(self) -> int:
        """How many images have no file because they, or their parents, cannot be read."""
        return self.done - self.by_status["ok"] - self.flagged

    @property
    def remaining_bytes(self) -> float:
        """An estimate of the size of the remaining files, from the sampled ones."""
        return self.remaining * self.sampled_bytes / self.sampled_files if self.sampled_files else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """An estimate of the time for the remaining images, or None if the speed is not known yet."""
        return self.remaining / self.images_per_second if self.images_per_second else None


class ImageCounter:
    """Counts the written images of a generator or of `PARENTS`. Counting again reads only the parts that are new."""

    def __init__(self, build: Build, name: str) -> None:
        self._build, self._name, self._parts = build, name, build.parts(name)
        self._written_at: dict[int, float] = {}  # when each counted part was written, by index
        self._counts = self._zero_counts()

    def count(self) -> ImageCounts:
        """Return the counts as of now. Raises BuildError if a part cannot be read."""
        written_at = self._find_written_parts()
        if not self._written_at.items() <= written_at.items():  # a counted part was replaced or removed
            self._written_at, self._counts = {}, self._zero_counts()
        for index in sorted(written_at.keys() - self._written_at.keys()):
            self._add_part(self._parts.read(index))
        self._written_at = written_at
        self._counts.images_per_second = self._measure_speed()
        return self._counts

    def _zero_counts(self) -> ImageCounts:
        return ImageCounts(self._name, self._build.count_images(self._name))

    def _find_written_parts(self) -> dict[int, float]:
        """The time at which each part was written, by its index."""
        written_at = {}
        for index in self._parts.indices:
            with suppress(FileNotFoundError):
                written_at[index] = self._parts.path(index).stat().st_mtime
        return written_at

    def _add_part(self, rows: pa.Table) -> None:
        counts = self._counts
        with_file = rows.filter(pc.equal(rows["status"], "ok"))
        counts.by_status.update(rows["status"].to_pylist())
        counts.by_split.update(with_file["split"].to_pylist())
        if self._name != PARENTS:
            counts.redrawn += self._count_redrawn(rows, with_file)
        if with_file.num_rows and counts.sampled_files < _SAMPLED_FILES:
            with suppress(FileNotFoundError):  # it was deleted since, and can be restored by `changeling build redraw`
                counts.sampled_bytes += (self._build.output / with_file["path"][0].as_py()).stat().st_size
                counts.sampled_files += 1

    def _count_redrawn(self, rows: pa.Table, with_file: pa.Table) -> int:
        """How many children of a part were drawn more than once."""
        columns = (with_file[column].to_pylist() for column in ("cluster_id", "caption_index", "seed"))
        redrawn: int = sum(
            seed != child_seed(self._build.seed, cluster_id, caption_index, self._name)
            for cluster_id, caption_index, seed in zip(*columns, strict=True)
        )
        if not self._build.generators[self._name].redraws:
            return redrawn
        flagged: int = pc.sum(pc.equal(rows["status"], "flagged")).as_py()
        return redrawn + flagged

    def _measure_speed(self) -> float:
        """Images per second over the last parts, or 0 if there are too few."""
        times = heapq.nlargest(RECENT_PARTS, self._written_at.values())
        if len(times) < 2 or times[0] == times[-1]:
            return 0.0
        return (len(times) - 1) * self._parts.part_size / (times[0] - times[-1])


class BuildCounter:
    """Counts the written images of a build. Counting again reads only the parts that are new."""

    def __init__(self, build: Build) -> None:
        self._counters = [ImageCounter(build, name) for name in build.names]

    def count(self) -> list[ImageCounts]:
        """The counts of the parents, then those of each generator."""
        return [counter.count() for counter in self._counters]


def count_images(build: Build, name: str) -> ImageCounts:
    """Count the written images of a generator or of `PARENTS`."""
    return ImageCounter(build, name).count()


def count_build(build: Build) -> list[ImageCounts]:
    """Count the written images of the parents, then those of each generator."""
    return BuildCounter(build).count()
