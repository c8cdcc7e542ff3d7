"""A Table as dot plots: one panel a measure, one line a row, whiskers for the 95 % interval, chance dashed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from changeling.report.style import FONT, INK, MUTED, PAPER, RULE, SERIES, bare, clean, render, shares, wrapped, zoomed
from changeling.report.tables import blocks, finite, guess, header
from changeling.results.format import format_label
from changeling.results.result import Column, Estimate, Row, Table

WIDTH = 340.0  # points, which are the units of the drawing; the page scales it
ROW = 23.0  # height of a row
TOP, BOTTOM, RIGHT = 22.0, 22.0, 14.0  # margins
DASHES = (("dashed", (4, 3)), ("dotted", (1.5, 2.5)))  # of the levels of chance, from the lowest
STEP, BESIDE = 0.3, 0.42  # of a row, between the estimates that share it: alone, and beside the paper's


@dataclass(frozen=True, slots=True)
class Mark:
    """How columns are drawn: hollow or filled, round or square. `name` is what the legend calls them."""

    name: str
    filled: bool
    shape: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A column's panel, its group, and its kind if the panel has several: "R@1", "Validation", "exact pair"."""

    panel: str
    group: str
    kind: str


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
    places = _places(table)
    families: dict[str, list[Column]] = {}
    for column in table.columns:
        if any(finite(row.cells.get(column.key)) for row in table.rows):
            families.setdefault(places[column.key].panel, []).append(column)
    return [Panel(title, _panel(table, title, columns)) for title, columns in families.items()]


def marks(table: Table) -> dict[str, Mark]:
    """How each column is drawn: filled if it is of the last group, hollow of the one before; kinds differ in shape."""
    places = _places(table)
    groups = list(dict.fromkeys(place.group for place in places.values()))[::-1]
    kinds = list(dict.fromkeys(place.kind for place in places.values()))
    return {
        key: Mark(
            name=", ".join(filter(None, (place.group, place.kind))),
            filled=groups.index(place.group) % 2 == 0,
            shape="os"[(groups.index(place.group) // 2 + kinds.index(place.kind)) % 2],
        )
        for key, place in places.items()
    }


def _places(table: Table) -> dict[str, _Place]:
    """Where each column is drawn: those that share a label share a panel."""
    levels, places = header(table), {}
    for column in table.columns:
        above, own = levels[column.group]
        if not above:
            places[column.key] = _Place(column.label, own, "")
        elif len({levels[other.group][1] for other in table.columns if other.label == column.label}) > 1:
            places[column.key] = _Place(column.label, above, own)
        else:
            places[column.key] = _Place(f"{own}: {column.label}", above, "")
    return places


def _panel(table: Table, title: str, columns: Sequence[Column]) -> str:
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
        _draw_chance(axes, table, columns)
        _draw_rows(axes, table, columns, slots, step)

    return render(WIDTH, height, f"{table.key} {title}", paint)


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
            names = [format_label(row.labels[label]) for label in (table.labels[1:] if title else table.labels)]
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


def _draw_chance(axes: Axes, table: Table, columns: Sequence[Column]) -> None:
    """Draw a line for each level that guessing reaches, each broken otherwise, and say above the plot which it is."""
    low, high = axes.get_xlim()
    levels = sorted({column.chance for column in columns if column.chance is not None})
    if not levels:
        return
    for i, level in enumerate(levels):
        axes.axvline(level, color=MUTED, linewidth=1, dashes=DASHES[i % len(DASHES)][1])
    text = _chance(table, columns)
    at = levels[0] if len(text) < 20 else high  # a long one ends where the plot does
    place = (at - low) / (high - low)
    axes.annotate(
        text,
        (at, 1),
        (0, 4),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if place < 0.2 else "right" if place > 0.8 else "center",
        va="bottom",
        color=MUTED,
        size=FONT - 1,
    )


def _chance(table: Table, columns: Sequence[Column]) -> str:
    """The levels of chance; where they differ each with its group, or with its kind if that tells them apart."""
    guessed = [column for column in columns if column.chance is not None]
    levels = sorted({column.chance for column in columns if column.chance is not None})
    looks = {level: f" ({DASHES[i][0]})" for i, level in enumerate(levels)} if len(levels) <= len(DASHES) else {}
    texts = [guess(column, 1) for column in sorted(guessed, key=lambda column: column.chance or 0)]
    if len(set(texts)) == 1:
        return f"chance {texts[0]} %"
    places = _places(table)
    for part in ("group", "kind"):
        named = dict.fromkeys(
            (getattr(places[column.key], part), guess(column, 1) + " %" + looks.get(column.chance or 0, ""))
            for column in guessed
        )
        if len(named) == len({name for name, _ in named}):
            return "chance: " + ", ".join(f"{name} {text}" for name, text in named)
    return f"chance {texts[0]} to {texts[-1]} %"


def _draw_rows(axes: Axes, table: Table, columns: Sequence[Column], slots: Sequence[_Slot], step: float) -> None:
    """Draw each row's estimates, one below the other, in the colour of its last label."""
    looks = marks(table)
    names = list(dict.fromkeys(_name(table, row) for row in table.rows))
    for slot in slots:
        if slot.row is None:
            continue
        colour = SERIES[names.index(_name(table, slot.row)) % len(SERIES)]
        for i, column in enumerate(columns):
            cell = slot.row.cells.get(column.key)
            if cell is not None and finite(cell):
                _draw_estimate(axes, cell, slot.y + step * (i - (len(columns) - 1) / 2), colour, looks[column.key])


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
    return row.labels[table.labels[-1]]
