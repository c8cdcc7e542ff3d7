"""Progress callbacks, called with (description, done, total): progress bars on a terminal, lines in a log file."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]
LINE_INTERVAL = 60.0  # seconds between two lines of a log file
_SPEED_SECONDS = 600.0  # over which the speed is measured; with rich's 30 s, slow steps would have no time left


def silent(description: str, done: int, total: int) -> None:
    """Ignore progress: the default of all library functions."""


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show one bar per description on standard error, with elapsed time and an estimate of the remaining time.

    Text after ": " in a description is a detail of the same bar, such as a loss, and may change. Nothing is shown if
    standard error is not a terminal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    console = Console(stderr=True)
    with RichProgress(
        *columns,
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=_SPEED_SECONDS,
    ) as bars:

        def show(description: str, done: int, total: int) -> None:
            name = description.partition(": ")[0]
            if name not in tasks:
                tasks[name] = bars.add_task(description, total=total)
            bars.update(tasks[name], description=description, completed=done, total=total)

        yield show


@contextmanager
def progress_bars_or_lines() -> Iterator[Progress]:
    """Show `progress_bars` on a terminal, and else print lines to standard error, as for the log of a long job."""
    if not sys.stderr.isatty():
        yield ProgressLines(lambda line: print(line, file=sys.stderr, flush=True))
        return
    with progress_bars() as progress:
        yield progress


class ProgressLines:
    """A progress callback that writes "NAME: 3 of 10" first, when all is done, and at most once a minute between."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._next_line: dict[str, float] = {}  # when the next line of each description is due

    def __call__(self, description: str, done: int, total: int) -> None:
        """Write a line if one is due."""
        name, now = description.partition(": ")[0], monotonic()
        due = self._next_line.get(name, 0.0)
        if now >= due or (done >= total and due < math.inf):
            self._write(f"{description}: {done:,} of {total:,}")
            self._next_line[name] = now + LINE_INTERVAL if done < total else math.inf


def track(items: Iterable[Item], description: str, total: int, progress: Progress) -> Iterator[Item]:
    """Yield `items`, and report progress with each."""
    for done, item in enumerate(items, start=1):
        progress(description, done, total)
        yield item
