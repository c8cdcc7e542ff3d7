"""The tables of the leaderboard: as in the Result, or turned so that each detector is a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changeling.report.leaderboard.cells import EstimateCell, Scale, choose_scale, make_cell
from changeling.results.result import Column, Estimate, Row, Table


@dataclass(frozen=True, slots=True)
class Heading:
    """The header of a column; `group` is the one above several."""

    label: str
    group: str = ""
    better: str = "high"


@dataclass(frozen=True, slots=True)
class Line:
    """A row: its labels, then its estimates."""

    labels: tuple[str, ...]
    cells: tuple[EstimateCell, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A table that can be sorted.

    Attributes:
        key: identifies it on the page.
        labels: headers of the label columns.
        groups: the headers above those of the columns, and how many columns each spans; empty if there are none.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The group of each run of columns."""
        runs: list[tuple[str, int]] = []
        for heading in self.headings:
            if runs and runs[-1][0] == heading.group:
                runs[-1] = heading.group, runs[-1][1] + 1
            else:
                runs.append((heading.group, 1))
        return runs if any(group for group, _ in runs) else []


def make_board(table: Table) -> Board:
    """Return a table as it is in the Result, the best row of its first column first."""
    first = table.columns[0]
    rows = sorted(table.rows, key=lambda row: -_rank(row.cells.get(first.key), first))
    columns = [_make_column(column, rows) for column in table.columns]
    return Board(
        key=table.key,
        title=table.title,
        labels=table.labels,
        headings=tuple(Heading(column.label, column.group, column.better) for column in table.columns),
        lines=tuple(
            Line(tuple(row.labels[name] for name in table.labels), cells)
            for row, cells in zip(rows, zip(*columns, strict=True), strict=True)
        ),
    )


def pivot_table(table: Table) -> list[Board]:
    """Return a table by generator or by source as a board for each of its columns, with the detectors as columns."""
    return [board for column in table.columns if (board := _pivot_column(table, column)).lines]


def _pivot_column(table: Table, column: Column) -> Board:
    row_name, detector_name = table.labels
    estimates = {
        (row.labels[row_name], row.labels[detector_name]): row.cells[column.key]
        for row in table.rows
        if column.key in row.cells
    }
    names, detectors = ([*dict.fromkeys(key[i] for key in estimates)] for i in (0, 1))
    scale = choose_scale(estimates.values(), column.chance)
    lines = []
    for name in names:
        row = [estimates.get((name, detector)) for detector in detectors]
        lines.append(Line((name,), tuple(_make_cells(row, scale, column))))
    headings = tuple(Heading(detector, better=column.better) for detector in detectors)
    return Board(
        f"{table.key}-{column.key}",
        f"{column.group}: {column.label}" if column.group else column.label,
        (row_name,),
        headings,
        tuple(lines),
    )


def _make_column(column: Column, rows: Sequence[Row]) -> list[EstimateCell]:
    """Return the cells of a column, of which the best are marked if there are several."""
    estimates = [row.cells.get(column.key) for row in rows]
    return _make_cells(estimates, choose_scale(estimates, column.chance), column)


def _make_cells(estimates: Sequence[Estimate | None], scale: Scale, column: Column) -> list[EstimateCell]:
    """Return the cells of estimates, of which the best are marked if there are several and some are better."""
    ranks = [_rank(each, column) for each in estimates]
    is_comparable = column.better != "none" and sum(each is not None for each in estimates) > 1
    return [
        make_cell(each, scale, column.chance, is_best=is_comparable and rank == max(ranks))
        for each, rank in zip(estimates, ranks, strict=True)
    ]


def _rank(estimate: Estimate | None, column: Column) -> float:
    """Return a number that is higher for better estimates, and the lowest for missing ones."""
    if estimate is None:
        return float("-inf")
    return -estimate.value if column.better == "low" else estimate.value
