"""The layout of a table: rows in blocks, grouped headers, and every cell as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from changeling.report.tables.text import (
    choose_decimals,
    format_chance,
    format_paper_agreement,
    format_range,
    format_sample_size,
    format_share,
    format_small_sample_warning,
    is_finite,
)
from changeling.results.format import format_label
from changeling.results.result import Column, Estimate, Row, Table

PAPER_DECIMALS = 2  # of per cent in the paper's tables
MAX_NORMAL_WIDTH = 9  # columns that fit on a page in normal type


@dataclass(frozen=True, slots=True)
class Cell:
    """An estimate as text: its value, the ends of its interval, the paper's value, and the verdict on the difference.

    `chance` is its level of chance, if that differs between the rows of its column; `shade` the strength of its
    background in a shaded column, from 0 for chance to 100.
    """

    value: str
    low: str = ""  # both ends are empty if one is not finite
    high: str = ""
    paper: str = ""
    verdict: str = ""
    chance: str = ""
    shade: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A row as text: its labels, and for each group of columns the sample size and the cells.

    A label is empty if it is that of the row above.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]  # clusters and images: ("12", "72 images")
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Columns under one header, with the sample size that their estimates share.

    If the sample size differs between blocks, it is in the titles of the blocks (`by_block`); if it differs between
    rows, it is a column of its own (`counted`).
    """

    title: str
    columns: tuple[Column, ...]
    count: tuple[str, ...] = ()
    by_block: bool = False
    counted: bool = False

    @property
    def span(self) -> int:
        """The number of columns below the header."""
        return len(self.columns) + self.counted


@dataclass(frozen=True, slots=True)
class Block:
    """Rows under one title; `counts` has the sample size for each group that is `by_block`."""

    title: str
    lines: tuple[Line, ...]
    counts: tuple[str, ...] = ()  # empty if no group is by block


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that a template needs to print a table."""

    labels: tuple[str, ...]
    spans: tuple[tuple[str, int], ...]  # headers above the groups, with the number of columns below each
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    chances: tuple[tuple[str, ...], ...]  # by group; empty if no column has a level of chance
    warning: str  # about few clusters
    paper: str  # how many estimates agree with the paper's values

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.labels) + sum(group.span for group in self.groups)

    @property
    def is_wide(self) -> bool:
        """Whether the table needs small type, and a landscape page in print."""
        return self.width > MAX_NORMAL_WIDTH


def lay_out(table: Table) -> Layout:
    """Return the layout of a table: rows in blocks by their first label, columns below the headers of their groups."""
    digits = choose_decimals(table)
    blocks = split_blocks(table)
    labels = table.labels[1:] if blocks[0][0] else table.labels
    groups = _lay_out_groups(table)
    has_chance = any(column.chance is not None for column in table.columns)
    return Layout(
        labels=labels,
        spans=_find_spans(table, groups),
        groups=groups,
        blocks=tuple(_lay_out_block(title, rows, labels, groups, digits) for title, rows in blocks),
        chances=tuple(_list_chances(group, digits) for group in groups) if has_chance else (),
        warning=format_small_sample_warning(table),
        paper=format_paper_agreement(table),
    )


def split_group_titles(table: Table) -> dict[str, tuple[str, str]]:
    """Return for each group the header above it and its own title.

    If all groups are named like "Validation: S", that is ("Validation", "S"), else ("", group).
    """
    titles = {column.group: column.group.partition(": ") for column in table.columns}
    is_nested = len(titles) > 1 and all(colon for _, colon, _ in titles.values())
    return {group: (above, own) if is_nested else ("", group) for group, (above, _, own) in titles.items()}


def split_blocks(table: Table) -> list[tuple[str, list[Row]]]:
    """Return titled blocks of rows by the first label, in order; or one untitled block if each would have one row.

    The title is the label itself for generators, and has the label's name before it for other labels.
    """
    rows = list(table.rows)
    if len(table.labels) > 1:
        first = table.labels[0]
        parts = [(key, list(group)) for key, group in groupby(rows, key=lambda row: format_label(row.labels[first]))]
        if len(parts) < len(rows) and all(title for title, _ in parts):
            return [(title if first == "Generator" else f"{first} {title}", block) for title, block in parts]
    return [("", rows)]


def _lay_out_groups(table: Table) -> tuple[Group, ...]:
    titles = split_group_titles(table)
    return tuple(
        _lay_out_group(table, titles[group][1], tuple(columns))
        for group, columns in groupby(table.columns, key=lambda column: column.group)
    )


def _lay_out_group(table: Table, title: str, columns: tuple[Column, ...]) -> Group:
    sizes = _find_sample_sizes(table.rows, columns)
    if len(sizes) == 1:
        clusters, images = sizes.pop()
        return Group(title, columns, format_sample_size(clusters, images))
    blocks = split_blocks(table)
    has_titles = bool(blocks[0][0])
    by_block = bool(sizes) and has_titles and all(len(_find_sample_sizes(rows, columns)) <= 1 for _, rows in blocks)
    return Group(title, columns, by_block=by_block, counted=bool(sizes) and not by_block)


def _find_spans(table: Table, groups: Sequence[Group]) -> tuple[tuple[str, int], ...]:
    """Return the headers above the groups, each with the number of columns below it."""
    titles = split_group_titles(table)
    groups_below = groupby(groups, key=lambda group: titles[group.columns[0].group][0])
    return tuple((title, sum(group.span for group in below)) for title, below in groups_below if title)


def _lay_out_block(
    title: str, rows: Sequence[Row], labels: Sequence[str], groups: Sequence[Group], digits: int
) -> Block:
    lines: list[Line] = []
    previous: list[str] = []
    for row in rows:
        texts = [format_label(row.labels[label]) for label in labels]
        shown = [
            "" if i < len(texts) - 1 and previous[: i + 1] == texts[: i + 1] else text for i, text in enumerate(texts)
        ]
        counts = tuple(_format_counts(row, group) for group in groups)
        cells = tuple(tuple(_format_cell(row, column, digits) for column in group.columns) for group in groups)
        lines.append(Line(tuple(shown), counts, cells))
        previous = texts
    has_counts = any(group.by_block for group in groups)
    block_counts = tuple(_format_block_counts(rows, group) for group in groups) if has_counts else ()
    return Block(title, tuple(lines), block_counts)


def _find_sample_sizes(rows: Sequence[Row], columns: Sequence[Column]) -> set[tuple[int, int]]:
    """Return the pairs of clusters and images that the estimates in some columns rest on."""
    cells = [row.cells[column.key] for row in rows for column in columns if column.key in row.cells]
    return {(cell.clusters, cell.images) for cell in cells}


def _format_block_counts(rows: Sequence[Row], group: Group) -> str:
    sizes = _find_sample_sizes(rows, group.columns) if group.by_block else set()
    return ", ".join(", ".join(format_sample_size(clusters, images)) for clusters, images in sizes)


def _format_counts(row: Row, group: Group) -> tuple[str, str]:
    """Return the clusters and images that a row's estimates in a group rest on: ("12–14", "84 images")."""
    cells = [row.cells[column.key] for column in group.columns if column.key in row.cells]
    if not cells:
        return "–", ""
    images = format_range([cell.images for cell in cells])
    return format_range([cell.clusters for cell in cells]), f"{images} image{'' if images == '1' else 's'}"


def _format_cell(row: Row, column: Column, digits: int) -> Cell:
    cell = row.cells.get(column.key)
    if cell is None or not is_finite(cell):
        return Cell("–")
    low = high = ""
    if math.isfinite(cell.low) and math.isfinite(cell.high):
        low, high = format_share(cell.low, digits), format_share(cell.high, digits)
    paper = "" if cell.paper is None else format_share(cell.paper, PAPER_DECIMALS)
    chance = format_chance(cell.chance, digits) if column.chance is None else ""
    verdict = cell.verdict or ""
    return Cell(format_share(cell.value, digits), low, high, paper, verdict, chance, _compute_shade(cell, column))


def _compute_shade(cell: Estimate, column: Column) -> int:
    """Return where a value of a shaded column lies between chance, or 0, and 1, in whole per cent; else 0."""
    chance = column.chance or 0.0
    return round(100 * max(cell.value - chance, 0) / (1 - chance)) if column.shaded else 0


def _list_chances(group: Group, digits: int) -> tuple[str, ...]:
    return tuple(format_chance(column.chance, digits) for column in group.columns)
