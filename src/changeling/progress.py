"""Progress callbacks, called with (description, done, total), and progress bars on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]


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
        *columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bars:

        def show(description: str, done: int, total: int) -> None:
            name = description.partition(": ")[0]
            if name not in tasks:
                tasks[name] = bars.add_task(description, total=total)
            bars.update(tasks[name], description=description, completed=done, total=total)

        yield show


def track(items: Iterable[Item], description: str, total: int, progress: Progress) -> Iterator[Item]:
    """Yield `items`, and report progress with each."""
    for done, item in enumerate(items, start=1):
        progress(description, done, total)
        yield item
