"""How long work says how far it is: a function that is called with (what, done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Say nothing: the default of every library function."""


@contextmanager
def bars(unit: Literal["images", "bytes"] = "images") -> Iterator[Progress]:
    """Draw one bar for each `what` on standard error, with the rate and an estimate of the time that is left.

    What stands after ": " is a detail that may change while the bar stays, such as a loss.

    On something that is not a terminal nothing is drawn.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    count: ProgressColumn = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn(), TextColumn("left"))
    tasks: dict[str, TaskID] = {}
    console = Console(stderr=True)
    with Bars(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as drawn:

        def show(what: str, done: int, total: int) -> None:
            name = what.partition(": ")[0]
            if name not in tasks:
                tasks[name] = drawn.add_task(what, total=total)
            drawn.update(tasks[name], description=what, completed=done, total=total)

        yield show


def tracked(items: Iterable[Item], what: str, total: int, progress: Progress) -> Iterator[Item]:
    """Yield `items`, reporting after each."""
    for done, item in enumerate(items, start=1):
        progress(what, done, total)
        yield item
