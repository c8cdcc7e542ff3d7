"""A Table as it is laid out: blocks of rows, grouped headers, numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from changeling.experiments.result import Column, Estimate, Row, Table

FEW = 100  # below this many clusters, the page says that the intervals matter more than the numbers
PAPER_DIGITS = 2  # of per cent in the paper's tables
MANY = 1000  # from this many clusters on, a second decimal says something


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, what stands in small type below it, and the paper's value: whether the interval holds it."""

    value: str
    below: str = ""
    paper: str = ""
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One row as text: its labels ("" where the row above says the same), and for each group its count and cells."""

    labels: tuple[str, ...]
    counts: tuple[Cell, ...]
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Columns under one header. `count` says what all of them rest on.

    If that differs by block, it stands in each block's title; if it differs by row, it is a column.
    """

    title: str
    columns: tuple[Column, ...]
    count: tuple[str, ...] = ()
    by_block: bool = False
    counted: bool = False

    @property
    def span(self) -> int:
        """How many columns the header stands above."""
        return len(self.columns) + self.counted


@dataclass(frozen=True, slots=True)
class Block:
    """Rows under one title, and for each group what they rest on if that differs by block."""

    title: str
    lines: tuple[Line, ...]
    counts: tuple[str, ...] = ()  # empty if all groups' counts stand elsewhere


@dataclass(frozen=True, slots=True)
class Layout:
    """All that the template needs to set a table."""

    labels: tuple[str, ...]
    spans: tuple[tuple[str, int], ...]  # headers above the groups, with the number of columns below each
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    chances: tuple[tuple[str, ...], ...]  # by group; empty if no column has a chance
    warning: str
    paper: str  # how many intervals hold the paper's value

    @property
    def width(self) -> int:
        """How many columns there are in all."""
        return len(self.labels) + sum(group.span for group in self.groups)


def lay_out(table: Table) -> Layout:
    """Set a table: rows in blocks by their first label, columns under their groups, "A: b" as b under A."""
    digits = decimals(table)
    parts = blocks(table)
    grouped = [(title, tuple(some)) for title, some in groupby(table.columns, key=lambda column: column.group)]
    nested = len(grouped) > 1 and all(": " in title for title, _ in grouped)
    groups = tuple(_group(table, title.split(": ", 1)[-1] if nested else title, some) for title, some in grouped)
    spans: list[tuple[str, int]] = []
    if nested:
        above = [title.split(": ", 1)[0] for title, _ in grouped]
        for title, some in groupby(zip(above, groups, strict=True), key=lambda pair: pair[0]):
            spans.append((title, sum(group.span for _, group in some)))
    labels = table.labels[1:] if parts[0][0] else table.labels
    counted = any(group.by_block for group in groups)
    laid = tuple(
        Block(
            title,
            _lines(rows, labels, groups, digits),
            tuple(_block_count(rows, group) for group in groups) if counted else (),
        )
        for title, rows in parts
    )
    chances = tuple(tuple(_chance(column, digits) for column in group.columns) for group in groups)
    if not any(column.chance is not None for column in table.columns):
        chances = ()
    return Layout(labels, tuple(spans), groups, laid, chances, _warning(table), _beside_paper(table))


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


def _group(table: Table, title: str, columns: tuple[Column, ...]) -> Group:
    sizes = _sizes(table.rows, columns)
    if len(sizes) == 1:
        clusters, images = sizes.pop()
        return Group(title, columns, (count(clusters, "cluster"), count(images, "image")))
    parts = blocks(table)
    by_block = bool(sizes) and bool(parts[0][0]) and all(len(_sizes(rows, columns)) <= 1 for _, rows in parts)
    return Group(title, columns, by_block=by_block, counted=bool(sizes) and not by_block)


def _sizes(rows: Sequence[Row], columns: Sequence[Column]) -> set[tuple[int, int]]:
    """All pairs of clusters and images that some columns rest on."""
    cells = [row.cells[column.key] for row in rows for column in columns if column.key in row.cells]
    return {(cell.clusters, cell.images) for cell in cells}


def _block_count(rows: Sequence[Row], group: Group) -> str:
    sizes = _sizes(rows, group.columns) if group.by_block else set()
    return ", ".join(f"{count(clusters, 'cluster')}, {count(images, 'image')}" for clusters, images in sizes)


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
    paper = "" if cell.paper is None else per_cent(cell.paper, PAPER_DIGITS)
    return Cell(per_cent(cell.value, digits), interval, paper, cell.holds)


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
    if column.chance is None:
        return ""
    return per_cent(column.chance, digits) if column.chance >= 10.0 ** -(digits + 2) else f"{100 * column.chance:.1g}"


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


def _beside_paper(table: Table) -> str:
    """A sentence for a table that the paper has, too."""
    beside = [cell for cell in _cells(table) if finite(cell) and cell.paper is not None]
    if not beside:
        return ""
    held = sum(cell.holds for cell in beside)
    return f"{held} of {count(len(beside), 'interval')} {'hold' if held != 1 else 'holds'} the paper’s value."
