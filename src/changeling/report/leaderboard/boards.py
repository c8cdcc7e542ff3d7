"""The tables of the leaderboard: as in the Result, or turned so that each detector is a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changeling.report.leaderboard.cells import EstimateCell, choose_scale, make_cell
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
    rows = sorted(table.rows, key=lambda row: -_value(row.cells.get(first.key)))
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
        best = max(map(_value, row))
        lines.append(
            Line((name,), tuple(make_cell(each, scale, column.chance, is_best=_value(each) == best) for each in row))
        )
    headings = tuple(Heading(detector) for detector in detectors)
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
    scale = choose_scale(estimates, column.chance)
    values = [each.value for each in estimates if each is not None]
    best = {"high": max, "low": min}.get(column.better)
    marked = best(values) if best and len(values) > 1 else None
    return [
        make_cell(each, scale, column.chance, is_best=each is not None and each.value == marked) for each in estimates
    ]


def _value(estimate: Estimate | None) -> float:
    """Return the value of an estimate, for an order in which missing ones are last."""
    return float("-inf") if estimate is None else estimate.value
