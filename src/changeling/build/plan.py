"""The parts to do: which parts of a build are missing or outdated, decided once before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import pyarrow.parquet as pq

from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import PARENTS, count_written_rows, hash_children, hash_parents
from changeling.build.record import check_record, record_path
from changeling.errors import BuildError
from changeling.generators.base import Record


@dataclass(frozen=True, slots=True)
class Shard:
    """The share of one process among `count` that build the same folder: every `count`-th part from part `index` on.

    The parts of the parents all belong to the first shard.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard such as "2/8". Raises BuildError if it is none."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise BuildError(f"--shard {text}: write I/N with I from 0 to N-1, such as 0/4")
        return cls(int(index), int(count))

    def select_parts(self, build: Build, name: str) -> Sequence[int]:
        """The indices of the parts of a generator, or of `PARENTS`, that belong to this shard, written or not."""
        indices = build.parts(name).indices
        if name != PARENTS:
            return indices[self.index :: self.count]
        return indices if self.index == 0 else range(0)


ALL_PARTS = Shard()


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The parts to do, as part indices by generator or `PARENTS`.

    Attributes:
        to_write: the parts to write, the outdated ones included.
        outdated: written parts that hold only the first of their images, because clusters were added since.
    """

    to_write: dict[str, list[int]]
    outdated: dict[str, list[int]]

    @property
    def generators(self) -> dict[str, list[int]]:
        """The parts to write of each generator that has any."""
        return {name: indices for name, indices in self.to_write.items() if name != PARENTS and indices}


def plan_build(build: Build, shard: Shard = ALL_PARTS) -> BuildPlan:
    """Decide which parts of a shard are to be written. Nothing is written or removed.

    Raises:
        BuildError: the settings differ from a generator's record, or a written part was made from something else.
    """
    to_write, outdated = {}, {}
    for name in (*build.generators, PARENTS):
        parts, indices = build.parts(name), shard.select_parts(build, name)
        outdated[name] = _parts_to_extend(build, name, [index for index in indices if parts.exists(index)])
        to_write[name] = [index for index in indices if index in outdated[name] or not parts.exists(index)]
    return BuildPlan(to_write, outdated)


def remove_outdated_parts(build: Build, plan: BuildPlan) -> None:
    """Remove the outdated parts, and images.parquet if it lists images of parts that are now missing.

    Until all of them are written the folder is no dataset.
    """
    for name, indices in plan.outdated.items():
        for index in indices:
            build.parts(name).remove(index)
    table = build.output / "images.parquet"
    incomplete = {name for name in build.names if build.parts(name).missing}
    if incomplete and table.exists():
        with suppress(FileNotFoundError):  # another process has just removed it
            listed = set(pq.read_table(table, columns=["generator"])["generator"].unique().to_pylist())
            if PARENTS in incomplete or listed & incomplete:
                table.unlink()


def _parts_to_extend(build: Build, name: str, written: Sequence[int]) -> list[int]:
    """Check the written parts of a generator, or of `PARENTS`; return those that hold only the first of their images.

    Raises:
        BuildError: a part, or the generator's record, is of another build.
    """
    record = {} if name == PARENTS else check_record(build, name)
    if record is None:
        if written:
            raise BuildError(f"{record_path(build.output, name)} is missing; move its folder away and build again")
        return []
    parts, outdated = build.parts(name), []
    for index in written:
        if parts.read_header(index).made_of != _hash_part(build, name, index, record):
            _check_part_can_be_extended(build, name, index, record)
            outdated.append(index)
    return outdated


def _check_part_can_be_extended(build: Build, name: str, index: int, record: Record) -> None:
    """Raise BuildError unless a written part holds the first of the images that it would hold now."""
    parts = build.parts(name)
    count = count_written_rows(parts, index)
    is_shorter = count < parts.count_rows([index])
    if not is_shorter or parts.read_header(index).made_of != _hash_part(build, name, index, record, count):
        change = "more clusters, other parents or captions"
        if name == PARENTS:
            change = "more clusters or other parents, or saved in another way"
        raise BuildError(f"{parts.path(index)} was made of {change}; move its folder away to make all of them again")


def _hash_part(build: Build, name: str, index: int, record: Record, count: int | None = None) -> str:
    """The hash of everything that a part, or its first `count` images, is made from."""
    if name != PARENTS:
        return hash_children(record, build.list_children(name, index)[:count])
    start, stop = build.parts(name).row_range(index)
    rows = build.parents.images.slice(start, stop - start).to_pylist()[:count]
    return hash_parents(Encoder(build.settings).record, rows)
