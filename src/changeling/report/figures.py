"""A Table as dot plots: one panel a measure, one line a row, whiskers for the 95 % interval, chance dashed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from changeling.experiments.result import Column, Estimate, Row, Table
from changeling.report.style import FONT, INK, MUTED, PAPER, RULE, SERIES, bare, clean, render, shares, wrapped, zoomed
from changeling.report.tables import blocks, finite

WIDTH = 340.0  # points, which are the units of the drawing; the page scales it
ROW = 23.0  # height of a row
TOP, BOTTOM, RIGHT = 22.0, 22.0, 14.0  # margins
STEP, BESIDE = 0.3, 0.42  # of a row, between the estimates that share it: alone, and beside the paper's


@dataclass(frozen=True, slots=True)
class Mark:
    """How one group of columns is drawn: hollow or filled, round or square."""

    group: str
    filled: bool
    shape: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The plot of one measure."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a line of the plot stands: a block's title, or a row."""

    y: float
    text: str
    row: Row | None = None


def draw(table: Table) -> list[Panel]:
    """Draw a table: a panel for each measure, that is for the columns that share a label across groups.

    The paper's value, where there is one, is an open diamond about ours.
    """
    families: dict[str, list[Column]] = {}
    for column in table.columns:
        if any(finite(row.cells.get(column.key)) for row in table.rows):
            families.setdefault(column.label, []).append(column)
    return [Panel(title, _panel(table, columns)) for title, columns in families.items()]


def marks(table: Table) -> list[Mark]:
    """One mark a group: the last group is filled, the one before it hollow; further pairs are square."""
    groups = list(dict.fromkeys(column.group for column in table.columns))[::-1]
    return [Mark(group, i % 2 == 0, "os"[i // 2 % 2]) for i, group in enumerate(groups)][::-1]


def _panel(table: Table, columns: Sequence[Column]) -> str:
    beside = any(row.cells[c.key].paper is not None for row in table.rows for c in columns if c.key in row.cells)
    step = BESIDE if beside else STEP
    need = step * (len(columns) + 0.5)
    slots = _slots(table, need)
    longest = max(len(line) for slot in slots if slot.row for line in slot.text.split("\n"))
    titled = max((len(slot.text) for slot in slots if not slot.row), default=0)
    left = min(max(16 + 0.56 * FONT * longest, 8 + 0.62 * FONT * titled), WIDTH / 2)
    inside = max(slot.y + (_high(slot.text, need) / 2 if slot.row else 0) for slot in slots)
    height = TOP + BOTTOM + ROW * (inside + 0.5)

    def paint(figure: Figure) -> None:
        box = (left / WIDTH, BOTTOM / height, 1 - (left + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / height)
        axes = figure.add_axes(box)
        axes.set_ylim(inside, -0.5)
        _draw_axes(axes, slots, _limits(table, columns), left)
        _draw_chance(axes, columns)
        _draw_rows(axes, table, columns, slots, step)

    return render(WIDTH, height, f"{table.key} {columns[0].label}", paint)


def _slots(table: Table, need: float) -> list[_Slot]:
    """Stack the titles of blocks and the rows from the top, with some air before each title."""
    slots: list[_Slot] = []
    end = -0.5  # the lower edge of the last slot
    for title, rows in blocks(table):
        if title:
            end += 0.15 if slots else 0
            slots.append(_Slot(end + 0.4, clean(title)))
            end += 0.8
        for row in rows:
            names = [row.labels.get(label, "") for label in (table.labels[1:] if title else table.labels)]
            text = wrapped(clean(" · ".join(filter(None, names))))
            high = _high(text, need)
            slots.append(_Slot(end + high / 2, text, row))
            end += high
    return slots


def _high(text: str, need: float) -> float:
    """How high a row is, of which its estimates need so much that none is on top of another."""
    return max(1, 0.5 * len(text.split("\n")), need)


def _limits(table: Table, columns: Sequence[Column]) -> tuple[float, float]:
    """The whole range from 0 to 1, or the part of it that holds all that is drawn if that is much less."""
    values = [column.chance for column in columns if column.chance is not None]
    for row in table.rows:
        for cell in (row.cells.get(column.key) for column in columns):
            if cell is not None and finite(cell):
                drawn = (cell.low, cell.value, cell.high, *(() if cell.paper is None else (cell.paper,)))
                values += [value for value in drawn if math.isfinite(value)]
    return zoomed(min(values), max(values))


def _draw_axes(axes: Axes, slots: Sequence[_Slot], limits: tuple[float, float], left: float) -> None:
    axes.set_xlim(*limits)
    bare(axes)
    shares(axes, "x")
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_yticks([])
    where = axes.get_yaxis_transform()
    span = axes.get_window_extent().width
    for slot in slots:
        if slot.row is None:
            start = -left / span
            axes.text(start, slot.y, slot.text, transform=where, color=INK, weight="bold", va="center")
        else:
            at = -9 / span
            axes.text(at, slot.y, slot.text, transform=where, color=INK, ha="right", va="center", linespacing=1)


def _draw_chance(axes: Axes, columns: Sequence[Column]) -> None:
    """Draw a dashed line for each level that guessing reaches, and name them once above the plot."""
    low, high = axes.get_xlim()
    levels = sorted({column.chance for column in columns if column.chance is not None})
    if not levels:
        return
    for level in levels:
        axes.axvline(level, color=MUTED, linewidth=1, dashes=(4, 3))
    middle = sum(levels) / len(levels)
    place = (middle - low) / (high - low)
    named = list(dict.fromkeys(f"{100 * level:.1f}" if level >= 0.001 else f"{100 * level:.2g}" for level in levels))
    axes.annotate(
        f"chance {' and '.join(named)} %",
        (middle, 1),
        (0, 4),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if place < 0.2 else "right" if place > 0.8 else "center",
        va="bottom",
        color=MUTED,
        size=FONT - 1,
    )


def _draw_rows(axes: Axes, table: Table, columns: Sequence[Column], slots: Sequence[_Slot], step: float) -> None:
    """Draw each row's estimates, one below the other, in the colour of its last label."""
    looks = {mark.group: mark for mark in marks(table)}
    names = list(dict.fromkeys(_name(table, row) for row in table.rows))
    for slot in slots:
        if slot.row is None:
            continue
        colour = SERIES[names.index(_name(table, slot.row)) % len(SERIES)]
        for i, column in enumerate(columns):
            cell = slot.row.cells.get(column.key)
            if cell is not None and finite(cell):
                _draw_estimate(axes, cell, slot.y + step * (i - (len(columns) - 1) / 2), colour, looks[column.group])


def _draw_estimate(axes: Axes, cell: Estimate, y: float, colour: str, mark: Mark) -> None:
    if math.isfinite(cell.low) and math.isfinite(cell.high):
        axes.plot([cell.low, cell.high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", clip_on=False)
        for end in (cell.low, cell.high):
            axes.plot([end, end], [y - 0.07, y + 0.07], color=colour, linewidth=1.1, clip_on=False)
    axes.plot(
        [cell.value],
        [y],
        linestyle="none",
        marker=mark.shape,
        markersize=5.6,
        markeredgewidth=1.4,
        markeredgecolor=colour,
        markerfacecolor=colour if mark.filled else PAPER,
        clip_on=False,
        zorder=3,
    )
    if cell.paper is not None and math.isfinite(cell.paper):
        axes.plot(
            [cell.paper],
            [y],
            linestyle="none",
            marker="d",
            markersize=9,
            markeredgewidth=0.9,
            markeredgecolor=INK,
            markerfacecolor="none",
            clip_on=False,
            zorder=4,
        )


def _name(table: Table, row: Row) -> str:
    return row.labels.get(table.labels[-1], "") if table.labels else ""
