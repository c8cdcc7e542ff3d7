"""How far a build is: what is done, flagged and unreadable, how fast it goes, until when, and on how much disk."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from changeling.build.children import seed_of
from changeling.build.job import Build
from changeling.build.parts import PARENTS

_QUIET = 300.0  # seconds without a new part, after which nobody seems to be at work
RECENT = 20  # parts, over which speed is measured


@dataclass(slots=True)
class Count:
    """How far one generator is, or the parents.

    Attributes:
        status: images done by status; those that are not "ok" have no file.
        splits: images that are ok, by split.
        redrawn: children that were drawn more than once, as the safety checker had flagged an earlier try.
        speed: images a second, over the last parts; 0 if it cannot be told yet.
        bytes: of the files of a sample, and `sampled` how many they are.
    """

    name: str
    total: int
    status: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    redrawn: int = 0
    speed: float = 0.0
    bytes: int = 0
    sampled: int = 0

    @property
    def done(self) -> int:
        """How many images are done, whatever became of them."""
        return self.status.total()

    @property
    def left(self) -> int:
        """How many images are to be made."""
        return max(0, self.total - self.done)

    @property
    def disk_left(self) -> float:
        """How many bytes they will take, by those that are done."""
        return self.left * self.bytes / self.sampled if self.sampled else 0.0


def count(build: Build) -> list[Count]:
    """Count the parts that are there: the parents', then each generator's."""
    return [count_one(build, name) for name in (PARENTS, *build.generators)]


def count_one(build: Build, name: str) -> Count:
    """Count the parts that are there of a generator, or of `PARENTS`."""
    made = Count(name, build.count(name))
    times: list[float] = []
    parts = build.parts(name)
    for index in filter(parts.exists, parts.indices):
        times.append(parts.path(index).stat().st_mtime)
        rows = parts.read(index)
        made.status.update(rows["status"].to_pylist())
        good = rows.filter(pc.equal(rows["status"], "ok"))
        made.splits.update(good["split"].to_pylist())
        if name != PARENTS:
            told = zip(*(good[key].to_pylist() for key in ("cluster_id", "caption_index", "seed")), strict=True)
            made.redrawn += sum(seed != seed_of(build.seed, cluster, at, name) for cluster, at, seed in told)
            if build.generators[name].redraws:
                made.redrawn += pc.sum(pc.equal(rows["status"], "flagged")).as_py()
        if good.num_rows and made.sampled < 64:
            with suppress(FileNotFoundError):  # it may be missing, until `--only` puts it back
                made.bytes += (build.output / good["path"][0].as_py()).stat().st_size
                made.sampled += 1
    times = sorted(times)[-RECENT:]
    if len(times) > 1 and times[-1] > times[0]:
        made.speed = (len(times) - 1) * build.part_size / (times[-1] - times[0])
    return made


def free_bytes(folder: Path) -> int:
    """How much room there is on the disk where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def in_bytes(count: float) -> str:
    """A number of bytes: "2.1 GB", "340 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.95 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def until(seconds: float) -> str:
    """A duration from now, and the time that it ends at: "3 h 10 min, until Tue 14:05"."""
    end = datetime.now() + timedelta(seconds=seconds)
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    length = f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"
    return f"{length if seconds >= 60 else f'{seconds:.0f} s'}, until {end:%a %d %b %H:%M}"


def idle(build: Build) -> float:
    """Seconds since the last part was written; infinite if none was."""
    paths = [path for path in build.paths if path.exists()]
    return time.time() - max((path.stat().st_mtime for path in paths), default=float("-inf"))


def show_status(build: Build, console: Console) -> None:
    """Print how far the build is."""
    counts = count(build)
    table = Table("", "done", "of", "redrawn", "flagged", "unread", "per hour", "left", box=None, padding=(0, 2, 0, 0))
    slowest = min((one.speed for one in counts if one.left and one.speed), default=float("inf"))
    quiet = idle(build)
    stopped = quiet != float("inf") and quiet > max(_QUIET, 10 * build.part_size / slowest)
    for one in counts:
        unreadable = one.done - one.status["ok"] - one.status["flagged"]
        numbers = (one.done, one.total, one.redrawn, one.status["flagged"], unreadable, round(one.speed * 3600))
        left = "done" if not one.left else "stopped" if stopped else "not known yet"
        if one.left and one.speed and not stopped:
            left = until(one.left / one.speed)
        table.add_row(escape(one.name), *(f"{number:,}" for number in numbers), left)
    for column in table.columns[1:7]:
        column.justify = "right"
    console.print(table)
    if any(one.left for one in counts):
        console.print(_disk(build, counts), highlight=False)
    there = (build.output / "images.parquet").exists() and not any(one.left for one in counts)
    state = "the dataset is written" if there else "the dataset is not written yet"
    since = "" if quiet == float("inf") else f"; the last part was written {_ago(quiet)}"
    done, total = sum(one.done for one in counts), sum(one.total for one in counts)
    console.print(f"{done:,} of {total:,} images are done; {state}{since}", highlight=False, soft_wrap=True)


def _disk(build: Build, counts: list[Count]) -> str:
    needed = sum(one.disk_left for one in counts)
    return f"disk: about {in_bytes(needed)} more needed, {in_bytes(free_bytes(build.output))} free"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
