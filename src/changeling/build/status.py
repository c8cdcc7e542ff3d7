"""Print the progress of a build: a table of counts, speed and time left, and whether the dataset is written."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from changeling.build.counts import ImageCounts, count_build
from changeling.build.estimate import format_bytes, format_time_left
from changeling.build.job import Build
from changeling.files import free_bytes

_MIN_IDLE = 300.0  # seconds without a new part, after which a build may count as stopped
_IDLE_PARTS = 10  # as many times as long as the slowest part takes


def print_status(build: Build, console: Console) -> None:
    """Print the progress of a build."""
    counts = count_build(build)
    idle = seconds_since_last_part(build)
    console.print(_status_table(counts, _is_stopped(build, counts, idle)))
    is_finished = not any(count.remaining for count in counts)
    if not is_finished:
        needed = sum(count.remaining_bytes for count in counts)
        free = format_bytes(free_bytes(build.output))
        console.print(f"disk: about {format_bytes(needed)} more needed, {free} free", highlight=False)
    is_written = is_finished and (build.output / "images.parquet").exists()
    state = "the dataset is written" if is_written else "the dataset is not written yet"
    since = f"; the last part was written {_format_ago(idle)}" if math.isfinite(idle) else ""
    done, total = sum(count.done for count in counts), sum(count.total for count in counts)
    console.print(f"{done:,} of {total:,} images are done; {state}{since}", highlight=False, soft_wrap=True)


def seconds_since_last_part(build: Build) -> float:
    """Seconds since the last part was written; infinite if there is none."""
    written_at = [path.stat().st_mtime for path in build.paths if path.exists()]
    return time.time() - max(written_at) if written_at else math.inf


def _is_stopped(build: Build, counts: list[ImageCounts], idle: float) -> bool:
    """Whether no part was written for so long that no process seems to be at work."""
    speeds = [count.images_per_second for count in counts if count.remaining and count.images_per_second]
    part_seconds = build.part_size / min(speeds) if speeds else 0.0
    return math.isfinite(idle) and idle > max(_MIN_IDLE, _IDLE_PARTS * part_seconds)


def _status_table(counts: list[ImageCounts], is_stopped: bool) -> Table:
    table = Table("", box=None, padding=(0, 2, 0, 0))
    for header in ("done", "of", "redrawn", "flagged", "unread", "per hour"):
        table.add_column(header, justify="right")
    table.add_column("left")
    for count in counts:
        per_hour = round(count.images_per_second * 3600)
        numbers = (count.done, count.total, count.redrawn, count.flagged, count.unreadable, per_hour)
        table.add_row(escape(count.name), *(f"{number:,}" for number in numbers), _format_left(count, is_stopped))
    return table


def _format_left(count: ImageCounts, is_stopped: bool) -> str:
    if not count.remaining:
        return "done"
    if is_stopped:
        return "stopped"
    seconds = count.remaining_seconds
    return "not known yet" if seconds is None else format_time_left(seconds)


def _format_ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
