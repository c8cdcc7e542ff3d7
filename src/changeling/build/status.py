"""Print the progress of a build: a table of counts, speed and time left, and whether the dataset is written."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

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
    console.print(_status_table(counts, _is_stopped(build, counts, min(idle, _seconds_since_page(build)))))
    is_finished = not any(count.remaining for count in counts)
    if not is_finished:
        console.print(_format_disk(build, counts), highlight=False, soft_wrap=True)
    since = f"; the last part was written {_format_ago(idle)}" if math.isfinite(idle) else ""
    done, total = sum(count.done for count in counts), sum(count.total for count in counts)
    console.print(
        f"{done:,} of {total:,} images are done; {_format_state(build, is_finished)}{since}",
        highlight=False,
        soft_wrap=True,
    )


def seconds_since_last_part(build: Build) -> float:
    """Seconds since the last part was written; infinite if there is none."""
    written_at = [path.stat().st_mtime for path in build.paths if path.exists()]
    return time.time() - max(written_at) if written_at else math.inf


def _seconds_since_page(build: Build) -> float:
    """Seconds since the page was written, which a process at work does when it begins and with each child."""
    path = build.output / "build" / "index.html"
    return time.time() - path.stat().st_mtime if path.exists() else math.inf


def _format_disk(build: Build, counts: list[ImageCounts]) -> str:
    """How much disk space the build still needs, as far as that is known, and how much is free."""
    needed = format_bytes(sum(count.remaining_bytes for count in counts))
    unknown = [count.name for count in counts if count.remaining and not count.done]
    if len(unknown) == sum(count.remaining > 0 for count in counts):
        estimate = "how much is needed is known after the first part"
    else:
        estimate = f"about {needed} more needed" + (f", without {', '.join(unknown)}" if unknown else "")
    return f"disk: {estimate}, {format_bytes(free_bytes(build.output))} free"


def _format_state(build: Build, is_finished: bool) -> str:
    """Whether the dataset is written, or one without the images that are still missing."""
    if not (build.output / "images.parquet").exists():
        return "the dataset is not written yet"
    return (
        "the dataset is written" if is_finished else "the dataset is not written yet: images.parquet is an earlier one"
    )


def _is_stopped(build: Build, counts: list[ImageCounts], idle: float) -> bool:
    """Whether no part and no page was written for so long that no process seems to be at work."""
    speeds = [count.images_per_second for count in counts if count.remaining and count.images_per_second]
    part_seconds = build.part_size / min(speeds) if speeds else 0.0
    return math.isfinite(idle) and idle > max(_MIN_IDLE, _IDLE_PARTS * part_seconds)


def _status_table(counts: list[ImageCounts], is_stopped: bool) -> Table:
    table = Table(Column(no_wrap=True), box=None, padding=(0, 2, 0, 0))
    for header in ("done", "of", "redrawn", "flagged", "unreadable", "per hour"):
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
