"""Messages to the user: notes, counts and examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Note = Callable[[str], object]  # takes a message of one line


def ignore_note(message: str) -> None:
    """Do nothing with a message: the default of importers and exporters."""


def format_count(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 image" or "1,204 images"; `plural` is by default `singular` and an s."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def format_examples(items: Sequence[object]) -> str:
    """Return the first three items, with "..." after them if there are more."""
    return ", ".join(map(str, items[:3])) + (", ..." if len(items) > 3 else "")
