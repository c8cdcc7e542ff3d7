"""A Table as it is laid out: blocks of rows, grouped headers, numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from changeling.results.format import format_count, format_label
from changeling.results.result import Column, Estimate, Row, Table

FEW = 100  # below this many clusters, the page says that the intervals matter more than the numbers
PAPER_DIGITS = 2  # of per cent in the paper's tables
MANY = 1000  # from this many clusters on, a second decimal says something
WIDE = 9  # columns that fit a page with their type as it is


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, the ends of its interval, and the paper's value: whether the interval holds it."""

    value: str
    low: str = ""  # both ends are empty if one is not finite
    high: str = ""
    paper: str = ""
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One row as text: its labels ("" where the row above says the same), and for each group its counts and cells."""

    labels: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]  # how many clusters, and how many images: ("12", "72 images")
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

    @property
    def wide(self) -> bool:
        """Whether it takes small type, and printed a page on its side."""
        return self.width > WIDE


def lay_out(table: Table) -> Layout:
    """Set a table: rows in blocks by their first label, columns under their groups, "A: b" as b under A."""
    digits = decimals(table)
    parts = blocks(table)
    levels = header(table)
    grouped = [(title, tuple(some)) for title, some in groupby(table.columns, key=lambda column: column.group)]
    groups = tuple(_group(table, levels[title][1], some) for title, some in grouped)
    above = zip((levels[title][0] for title, _ in grouped), groups, strict=True)
    spans = tuple(
        (title, sum(group.span for _, group in some))
        for title, some in groupby(above, key=lambda pair: pair[0])
        if title
    )
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
    chances = tuple(tuple(guess(column, digits) for column in group.columns) for group in groups)
    if not any(column.chance is not None for column in table.columns):
        chances = ()
    return Layout(labels, spans, groups, laid, chances, _warning(table), _beside_paper(table))


def header(table: Table) -> dict[str, tuple[str, str]]:
    """Group -> what stands above it, and its own title: "Validation: S" -> ("Validation", "S"), if all are so named."""
    titles = {column.group: column.group.partition(": ") for column in table.columns}
    nested = len(titles) > 1 and all(colon for _, colon, _ in titles.values())
    return {group: (above, own) if nested else ("", group) for group, (above, _, own) in titles.items()}


def blocks(table: Table) -> list[tuple[str, list[Row]]]:
    """Rows by their first label, in order; one block without a title if that would not make fewer of them.

    A generator is its block's title; of other labels the name stands before it.
    """
    rows = list(table.rows)
    if len(table.labels) > 1:
        first = table.labels[0]
        parts = [(key, list(group)) for key, group in groupby(rows, key=lambda row: format_label(row.labels[first]))]
        if len(parts) < len(rows) and all(title for title, _ in parts):
            return [(title if first == "Generator" else f"{first} {title}", some) for title, some in parts]
    return [("", rows)]


def decimals(table: Table) -> int:
    """Two decimals, as in the paper, where thousands of clusters carry them; one where fewer do."""
    return 2 if min((cell.clusters for cell in _cells(table)), default=0) >= MANY else 1


def per_cent(share: float, digits: int) -> str:
    """Print a share as per cent, without the sign: 0.1667 -> "16.67"."""
    return f"{100 * share:.{digits}f}"


def guess(column: Column, digits: int) -> str:
    """Print what guessing scores; what is next to nothing by its first digit."""
    if column.chance is None:
        return ""
    return per_cent(column.chance, digits) if column.chance >= 10.0 ** -(digits + 2) else f"{100 * column.chance:.1g}"


def finite(cell: Estimate | None) -> bool:
    """Whether there is a number to show."""
    return cell is not None and math.isfinite(cell.value)


def _group(table: Table, title: str, columns: tuple[Column, ...]) -> Group:
    sizes = _sizes(table.rows, columns)
    if len(sizes) == 1:
        clusters, images = sizes.pop()
        return Group(title, columns, _rests_on(clusters, images))
    parts = blocks(table)
    by_block = bool(sizes) and bool(parts[0][0]) and all(len(_sizes(rows, columns)) <= 1 for _, rows in parts)
    return Group(title, columns, by_block=by_block, counted=bool(sizes) and not by_block)


def _sizes(rows: Sequence[Row], columns: Sequence[Column]) -> set[tuple[int, int]]:
    """All pairs of clusters and images that some columns rest on."""
    cells = [row.cells[column.key] for row in rows for column in columns if column.key in row.cells]
    return {(cell.clusters, cell.images) for cell in cells}


def _rests_on(clusters: int, images: int) -> tuple[str, str]:
    """What numbers rest on: ("12 clusters", "72 images")."""
    return format_count(clusters, "cluster", "clusters"), format_count(images, "image", "images")


def _block_count(rows: Sequence[Row], group: Group) -> str:
    sizes = _sizes(rows, group.columns) if group.by_block else set()
    return ", ".join(", ".join(_rests_on(clusters, images)) for clusters, images in sizes)


def _lines(rows: Sequence[Row], labels: Sequence[str], groups: Sequence[Group], digits: int) -> tuple[Line, ...]:
    lines: list[Line] = []
    above: list[str] = []
    for row in rows:
        texts = [format_label(row.labels[label]) for label in labels]
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
    ends = (cell.low, cell.high)
    low, high = (per_cent(end, digits) if all(map(math.isfinite, ends)) else "" for end in ends)
    paper = "" if cell.paper is None else per_cent(cell.paper, PAPER_DIGITS)
    return Cell(per_cent(cell.value, digits), low, high, paper, cell.holds)


def _count(row: Row, group: Group) -> tuple[str, str]:
    """How many clusters and images a row's columns of this group rest on: "12", or "12–14" if they differ."""
    cells = [row.cells[column.key] for column in group.columns if column.key in row.cells]
    if not cells:
        return "–", ""
    images = _span([cell.images for cell in cells])
    return _span([cell.clusters for cell in cells]), f"{images} image{'' if images == '1' else 's'}"


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _cells(table: Table) -> list[Estimate]:
    return [cell for row in table.rows for cell in row.cells.values()]


def _warning(table: Table) -> str:
    """A sentence for a table that rests on few clusters."""
    numbers = [cell.clusters for cell in _cells(table)]
    low, high = min(numbers, default=FEW), max(numbers, default=FEW)
    if low >= FEW:
        return ""
    clusters = format_count(low, "cluster", "clusters")
    if low == high:
        return f"Each number rests on {clusters} only: read the intervals, not the numbers."
    return f"Numbers rest on as few as {clusters}: read the intervals, not the numbers."


def _beside_paper(table: Table) -> str:
    """A sentence for a table that the paper has, too."""
    beside = [cell for cell in _cells(table) if finite(cell) and cell.paper is not None]
    if not beside:
        return ""
    held = sum(cell.holds for cell in beside)
    return (
        f"{held} of {format_count(len(beside), 'interval', 'intervals')} {'hold' if held != 1 else 'holds'} "
        "the paper’s value."
    )
