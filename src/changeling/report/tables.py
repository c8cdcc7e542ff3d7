"""A Table as it is laid out: blocks of rows, grouped headers, numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from changeling.experiments.result import Column, Estimate, Row, Table

FEW = 100  # below this many clusters, the page says that the intervals matter more than the numbers
MANY = 1000  # from this many clusters on, a second decimal says something


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, and what stands in small type below it."""

    value: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row as text: its labels ("" where the row above says the same), and for each group its count and cells."""

    labels: tuple[str, ...]
    counts: tuple[Cell, ...]
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Columns under one header. `count` says what all of them rest on; if that differs by row, it is a column."""

    title: str
    columns: tuple[Column, ...]
    count: tuple[str, ...]
    counted: bool

    @property
    def span(self) -> int:
        """How many columns the header stands above."""
        return len(self.columns) + self.counted


@dataclass(frozen=True, slots=True)
class Layout:
    """All that the template needs to set a table."""

    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]
    chances: tuple[tuple[str, ...], ...]  # by group; empty if no column has a chance
    warning: str


def lay_out(table: Table) -> Layout:
    """Set a table: rows in blocks by their first label, columns under their groups."""
    groups = tuple(_group(table, title, columns) for title, columns in _grouped(table.columns))
    digits = decimals(table)
    parts = blocks(table)
    labels = table.labels[1:] if parts[0][0] else table.labels
    laid = tuple((title, _lines(rows, labels, groups, digits)) for title, rows in parts)
    chances = tuple(tuple(_chance(column, digits) for column in group.columns) for group in groups)
    if not any(column.chance is not None for column in table.columns):
        chances = ()
    return Layout(labels, groups, laid, chances, _warning(table))


def blocks(table: Table) -> list[tuple[str, list[Row]]]:
    """Rows by their first label, in order; one block without a title if that would not make fewer of them."""
    rows = list(table.rows)
    if len(table.labels) > 1:
        first = table.labels[0]
        parts = [(key, list(group)) for key, group in groupby(rows, key=lambda row: row.labels.get(first, ""))]
        if len(parts) < len(rows) and all(title for title, _ in parts):
            return parts
    return [("", rows)]


def decimals(table: Table) -> int:
    """Two decimals, as in the paper, where thousands of clusters carry them; one where fewer do."""
    return 2 if min((cell.clusters for cell in _cells(table)), default=0) >= MANY else 1


def per_cent(share: float, digits: int) -> str:
    """Print a share as per cent, without the sign: 0.1667 -> "16.67"."""
    return f"{100 * share:.{digits}f}" if math.isfinite(share) else "–"


def count(number: int, noun: str) -> str:
    """Print a number of things: "1 cluster", "5,000 clusters"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def finite(cell: Estimate | None) -> bool:
    """Whether there is a number to show."""
    return cell is not None and math.isfinite(cell.value)


def _grouped(columns: Sequence[Column]) -> list[tuple[str, tuple[Column, ...]]]:
    return [(title, tuple(part)) for title, part in groupby(columns, key=lambda column: column.group)]


def _group(table: Table, title: str, columns: tuple[Column, ...]) -> Group:
    keys = [column.key for column in columns]
    sizes = {(cell.clusters, cell.images) for row in table.rows for key, cell in row.cells.items() if key in keys}
    if len(sizes) != 1:
        return Group(title, columns, (), counted=bool(sizes))
    clusters, images = sizes.pop()
    return Group(title, columns, (count(clusters, "cluster"), count(images, "image")), counted=False)


def _lines(rows: Sequence[Row], labels: Sequence[str], groups: Sequence[Group], digits: int) -> tuple[Line, ...]:
    lines: list[Line] = []
    above: list[str] = []
    for row in rows:
        texts = [row.labels.get(label, "") for label in labels]
        shown = [
            "" if i < len(texts) - 1 and above[: i + 1] == texts[: i + 1] else text for i, text in enumerate(texts)
        ]
        counts = tuple(_count(row, group) for group in groups)
        cells = tuple(tuple(_cell(row.cells.get(c.key), digits) for c in group.columns) for group in groups)
        lines.append(Line(tuple(shown), counts, cells))
        above = texts
    return tuple(lines)


def _cell(cell: Estimate | None, digits: int) -> Cell:
    if cell is None or not finite(cell):
        return Cell("–")
    interval = f"{per_cent(cell.low, digits)}–{per_cent(cell.high, digits)}"
    return Cell(per_cent(cell.value, digits), interval)


def _count(row: Row, group: Group) -> Cell:
    """How many clusters and images a row's columns of this group rest on: "12", or "12–14" if they differ."""
    cells = [row.cells[column.key] for column in group.columns if column.key in row.cells]
    if not cells:
        return Cell("–")
    images = _span([cell.images for cell in cells])
    return Cell(_span([cell.clusters for cell in cells]), f"{images} image{'' if images == '1' else 's'}")


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _chance(column: Column, digits: int) -> str:
    return "" if column.chance is None else per_cent(column.chance, digits)


def _cells(table: Table) -> list[Estimate]:
    return [cell for row in table.rows for cell in row.cells.values()]


def _warning(table: Table) -> str:
    """A sentence for a table that rests on few clusters."""
    numbers = [cell.clusters for cell in _cells(table)]
    low, high = min(numbers, default=FEW), max(numbers, default=FEW)
    if low >= FEW:
        return ""
    if low == high:
        return f"Each number rests on {count(low, 'cluster')} only: read the intervals, not the numbers."
    return f"Numbers rest on as few as {count(low, 'cluster')}: read the intervals, not the numbers."
