"""A Table as dot plots: one panel a measure, one line a row, whiskers for the 95 % interval, chance dashed."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from changeling.experiments.result import Column, Estimate, Row, Table
from changeling.report.tables import blocks, finite, per_cent

WIDTH = 340.0  # points, which are the units of the drawing; the page scales it
FONT = 9.5
ROW = 23.0  # height of a row
TOP, BOTTOM, RIGHT = 22.0, 22.0, 14.0  # margins
INK, MUTED, RULE, PAPER = "#1c1e21", "#5b6270", "#d5d9df", "#fffffe"
SERIES = ("#2b6cb0", "#c2410c", "#2f7d4f", "#7c4dab", "#946200", "#0e7490", "#b0307a", "#4b5563")
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}


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

    Colours are CSS variables (`--ink`, `--paper`, `--s0` ...) with a fallback, so that a page's scheme holds for
    its figures; the same table gives the same bytes.
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
    slots = _slots(table)
    longest = max(len(line) for slot in slots if slot.row for line in slot.text.split("\n"))
    left = min(16 + 0.56 * FONT * longest, WIDTH / 2)
    inside = max(slot.y for slot in slots) + 0.5
    height = TOP + BOTTOM + ROW * inside
    settings: dict[str, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"{table.key} {columns[0].label}",
        "font.size": FONT,
        "font.family": ["DejaVu Sans"],
        "text.parse_math": False,
    }
    text = StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has other fonts
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        box = (left / WIDTH, BOTTOM / height, 1 - (left + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / height)
        axes = figure.add_axes(box)
        axes.set_ylim(inside, -0.5)
        _draw_axes(axes, slots, _limits(table, columns), left)
        _draw_chance(axes, columns)
        _draw_rows(axes, table, columns, slots)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return _themed(text.getvalue())


def _slots(table: Table) -> list[_Slot]:
    """Stack the titles of blocks and the rows from the top, with some air before each title."""
    slots: list[_Slot] = []
    end = -0.5  # the lower edge of the last slot
    for title, rows in blocks(table):
        if title:
            end += 0.15 if slots else 0
            slots.append(_Slot(end + 0.4, _clean(title)))
            end += 0.8
        for row in rows:
            names = [row.labels.get(label, "") for label in (table.labels[1:] if title else table.labels)]
            text = _wrapped(_clean(" · ".join(filter(None, names))))
            high = max(1, 0.5 * len(text.split("\n")))
            slots.append(_Slot(end + high / 2, text, row))
            end += high
    return slots


def _limits(table: Table, columns: Sequence[Column]) -> tuple[float, float]:
    """The whole range from 0 to 1, or the part of it that holds all intervals and chance if that is much less."""
    values = [column.chance for column in columns if column.chance is not None]
    for row in table.rows:
        for cell in (row.cells.get(column.key) for column in columns):
            if cell is not None and finite(cell):
                values += [value for value in (cell.low, cell.value, cell.high) if math.isfinite(value)]
    low, high = min(values), max(values)
    if high - low > 0.6:
        return -0.01, 1.01
    pad = max(0.08 * (high - low), 0.01)
    return max(low - pad, -0.01), min(high + pad, 1.01)


def _draw_axes(axes: Axes, slots: Sequence[_Slot], limits: tuple[float, float], left: float) -> None:
    axes.set_xlim(*limits)
    axes.spines[:].set_visible(False)
    axes.set_facecolor("none")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=FONT - 0.5, pad=5)
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
    axes.annotate(
        f"chance {' and '.join(per_cent(level, 1) for level in levels)} %",
        (middle, 1),
        (0, 4),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if place < 0.2 else "right" if place > 0.8 else "center",
        va="bottom",
        color=MUTED,
        size=FONT - 1,
    )


def _draw_rows(axes: Axes, table: Table, columns: Sequence[Column], slots: Sequence[_Slot]) -> None:
    """Draw each row's estimates, one below the other, in the colour of its last label."""
    looks = {mark.group: mark for mark in marks(table)}
    names = list(dict.fromkeys(_name(table, row) for row in table.rows))
    step = min(0.3, 0.6 / len(columns))
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


def _name(table: Table, row: Row) -> str:
    return row.labels.get(table.labels[-1], "") if table.labels else ""


def _wrapped(text: str, width: int = 20) -> str:
    """Break a long name at its own joints."""
    lines = [""]
    for part in re.findall(r"[^-_/:.@ ]*[-_/:.@ ]?", text):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _clean(text: str) -> str:
    """Text that any font and any file can hold: one line, no halves of surrogate pairs, no control characters."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text)


def _themed(svg: str) -> str:
    """Make Matplotlib's SVG fit to stand inside a page: no prolog, no ids or rules that leak, colours by name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("font-family: 'DejaVu Sans'", "font-family: var(--sans, system-ui, sans-serif)")
    colours = "|".join(_NAMES)
    return re.sub(rf"(fill|stroke): ({colours})", lambda m: f"{m[1]}: var(--{_NAMES[m[2]]}, {m[2]})", svg).strip()
