"""Dot plots of a table: panels for each measure, a line for each row, with 95 % intervals and levels of chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from changeling.report.figures.columns import (
    DASHES,
    Marker,
    choose_markers,
    describe_chance,
    list_chance_levels,
    split_panels,
)
from changeling.report.figures.style import (
    FONT_SIZE,
    INK,
    MUTED,
    PAPER,
    RULE,
    SERIES,
    Panel,
    choose_limits,
    clean_text,
    format_share_axis,
    hide_frame,
    render_svg,
    wrap_text,
)
from changeling.report.tables.layout import split_blocks
from changeling.report.tables.text import is_finite
from changeling.results.format import P_VALUE_LABEL, format_label
from changeling.results.result import Column, Estimate, Row, Table

WIDTH = 340.0  # points, which are the units of the drawing; the page scales it
ROW_HEIGHT = 23.0
TOP, BOTTOM, RIGHT = 22.0, 22.0, 14.0  # margins
# Heights in rows: the title of a block, the gap before all but the first, a line of a label, and the space around a
# label of several lines.
TITLE_HEIGHT, TITLE_GAP, LINE_HEIGHT, LABEL_PADDING = 0.8, 0.15, 0.5, 0.3
MAX_ROWS = 27.0  # of a panel: what fits on a landscape page with the panel's title
# Distance between estimates of one row, as a share of ROW_HEIGHT; larger if the paper's values are drawn, too.
STEP, STEP_WITH_PAPER = 0.3, 0.42


@dataclass(frozen=True, slots=True)
class _Slot:
    """A line of a panel: the title of a block, or a row. `bottom` and `height` are in rows, from the top."""

    bottom: float
    height: float
    text: str
    row: Row | None = None

    @property
    def y(self) -> float:
        """Centre of the text and the estimates."""
        return self.bottom - (TITLE_HEIGHT if self.row is None else self.height) / 2


@dataclass(frozen=True, slots=True)
class _PanelLayout:
    """What a panel shows, and where. `table` has the rows of all panels of a measure, which share axis and colours."""

    table: Table
    columns: Sequence[Column]
    slots: Sequence[_Slot]
    step: float  # between the estimates of a row, in rows
    left: float  # margin for the labels, in points

    @property
    def height(self) -> float:
        """Height of the panel in points."""
        return TOP + BOTTOM + ROW_HEIGHT * (self.slots[-1].bottom + 0.5)


def draw_dot_plots(table: Table) -> list[Panel]:
    """Return panels for each measure, that is for the columns that share a label across groups.

    Rows that do not fit on a printed page together are continued in further panels. The paper's value, if there is one,
    is an open diamond around ours. A p-value is that of the first measure, and not repeated for the others.
    """
    panels: list[Panel] = []
    for title, columns in split_panels(table).items():
        if panels:
            table = table.model_copy(update={"labels": _remove_p_value(table.labels)})
        for index, layout in enumerate(_lay_out_panels(table, columns)):
            panel_title = f"{title}, continued" if index else title
            panels.append(Panel(panel_title, _draw_panel(panel_title, layout)))
    return panels


def _lay_out_panels(table: Table, columns: Sequence[Column]) -> list[_PanelLayout]:
    cells = [row.cells[column.key] for row in table.rows for column in columns if column.key in row.cells]
    step = STEP_WITH_PAPER if any(cell.paper is not None for cell in cells) else STEP
    stacks = _stack_slots(table, step * (len(columns) + 0.5))
    slots = [slot for stack in stacks for slot in stack]
    longest_line = max(len(line) for slot in slots if slot.row for line in slot.text.split("\n"))
    longest_title = max((len(slot.text) for slot in slots if not slot.row), default=0)
    left = min(max(16 + 0.56 * FONT_SIZE * longest_line, 8 + 0.62 * FONT_SIZE * longest_title), WIDTH / 2)
    return [_PanelLayout(table, columns, stack, step, left) for stack in stacks]


def _stack_slots(table: Table, min_height: float) -> list[list[_Slot]]:
    """Stack the titles of blocks and the rows from the top of each panel, and begin a panel where the last is full.

    A block is divided only if it is higher than a panel; each part then has its title.
    """
    stacks: list[list[_Slot]] = [[]]
    for title, rows in split_blocks(table):
        texts = [_format_row_label(table.labels[1:] if title else table.labels, row) for row in rows]
        heights = [_measure_row(text, min_height) for text in texts]
        if stacks[-1] and stacks[-1][-1].bottom + TITLE_HEIGHT + sum(heights) > MAX_ROWS:
            stacks.append([])
        for index, (row, text, height) in enumerate(zip(rows, texts, heights, strict=True)):
            if index and stacks[-1][-1].bottom + height > MAX_ROWS:
                stacks.append([])
            if title and (index == 0 or not stacks[-1]):
                _append_slot(stacks[-1], clean_text(title), TITLE_HEIGHT + (TITLE_GAP if stacks[-1] else 0))
            _append_slot(stacks[-1], text, height, row)
    return stacks


def _append_slot(slots: list[_Slot], text: str, height: float, row: Row | None = None) -> None:
    top = slots[-1].bottom if slots else -0.5
    slots.append(_Slot(top + height, height, text, row))


def _format_row_label(labels: Sequence[str], row: Row) -> str:
    """Return the label of a row in lines; its p-value is a line of its own."""
    names = [format_label(row.labels[label]) for label in _remove_p_value(labels)]
    lines = wrap_text(clean_text(" · ".join(filter(None, names))))
    p_value = clean_text(row.labels[P_VALUE_LABEL]) if P_VALUE_LABEL in labels else ""
    if not p_value:
        return lines
    return f"{lines}\np {p_value}" if p_value.startswith("<") else f"{lines}\np = {p_value}"


def _remove_p_value(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label != P_VALUE_LABEL)


def _measure_row(text: str, min_height: float) -> float:
    """Return the height of a row: enough for the lines of its label, and for its estimates not to overlap."""
    lines = len(text.split("\n"))
    return max(1, LINE_HEIGHT * lines + LABEL_PADDING, min_height)


def _draw_panel(title: str, layout: _PanelLayout) -> str:
    def paint(figure: Figure) -> None:
        width, height = 1 - (layout.left + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / layout.height
        axes = figure.add_axes((layout.left / WIDTH, BOTTOM / layout.height, width, height))
        axes.set_ylim(layout.slots[-1].bottom, -0.5)
        _draw_axes(axes, layout)
        _draw_chance(axes, layout)
        _draw_rows(axes, layout)

    return render_svg(WIDTH, layout.height, f"{layout.table.key} {title}", paint)


def _find_limits(layout: _PanelLayout) -> tuple[float, float]:
    """Return the range of the axis: all of 0 to 1, or the range of what is drawn if that is much smaller."""
    values = list_chance_levels(layout.columns)
    for row in layout.table.rows:
        for cell in (row.cells.get(column.key) for column in layout.columns):
            if cell is not None and is_finite(cell):
                drawn = (cell.low, cell.value, cell.high, cell.paper, cell.chance)
                values += [value for value in drawn if value is not None and math.isfinite(value)]
    return choose_limits(min(values), max(values))


def _draw_axes(axes: Axes, layout: _PanelLayout) -> None:
    axes.set_xlim(*_find_limits(layout))
    hide_frame(axes)
    format_share_axis(axes.xaxis)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    if axes.get_xlim()[0] < -0.01:  # differences
        axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_yticks([])
    transform = axes.get_yaxis_transform()
    width = axes.get_window_extent().width
    for slot in layout.slots:
        if slot.row is None:
            x = -layout.left / width
            axes.text(x, slot.y, slot.text, transform=transform, color=INK, weight="bold", va="center")
        else:
            x, lines = -9 / width, slot.text.split("\n")
            for index, line in enumerate(lines):  # each by itself: Matplotlib sets lines without descenders closer
                y = slot.y + LINE_HEIGHT * (index - (len(lines) - 1) / 2)
                axes.text(x, y, line, transform=transform, color=INK, ha="right", va="center_baseline")


def _draw_chance(axes: Axes, layout: _PanelLayout) -> None:
    """Draw a line for each level of chance, each with other dashes, and write the levels above the plot."""
    low, high = axes.get_xlim()
    levels = list_chance_levels(layout.columns)
    if not levels:
        return
    for i, level in enumerate(levels):
        axes.axvline(level, color=MUTED, linewidth=1, dashes=DASHES[i % len(DASHES)][1])
    text = describe_chance(layout.table, layout.columns)
    x = levels[0] if len(text) < 20 else high  # a long text ends at the right end of the plot
    position = (x - low) / (high - low)
    axes.annotate(
        text,
        (x, 1),
        (0, 4),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if position < 0.2 else "right" if position > 0.8 else "center",
        va="bottom",
        color=MUTED,
        size=FONT_SIZE - 1,
    )


def _draw_rows(axes: Axes, layout: _PanelLayout) -> None:
    """Draw the estimates of each row one below the other, in the colour of the row's last label."""
    markers = choose_markers(layout.table)
    last_label = _remove_p_value(layout.table.labels)[-1]
    names = list(dict.fromkeys(row.labels[last_label] for row in layout.table.rows))
    for slot in layout.slots:
        if slot.row is None:
            continue
        colour = SERIES[names.index(slot.row.labels[last_label]) % len(SERIES)]
        for i, column in enumerate(layout.columns):
            cell = slot.row.cells.get(column.key)
            if cell is not None and is_finite(cell):
                y = slot.y + layout.step * (i - (len(layout.columns) - 1) / 2)
                _draw_estimate(axes, cell, y, colour, markers[column.key])
                if column.chance is None and cell.chance is not None:
                    reach = layout.step / 2
                    axes.plot([cell.chance] * 2, [y - reach, y + reach], color=MUTED, linewidth=1, dashes=DASHES[0][1])


def _draw_estimate(axes: Axes, cell: Estimate, y: float, colour: str, marker: Marker) -> None:
    if math.isfinite(cell.low) and math.isfinite(cell.high):
        axes.plot([cell.low, cell.high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", clip_on=False)
        for end in (cell.low, cell.high):
            axes.plot([end, end], [y - 0.07, y + 0.07], color=colour, linewidth=1.1, clip_on=False)
    axes.plot(
        [cell.value],
        [y],
        linestyle="none",
        marker=marker.shape,
        markersize=5.6,
        markeredgewidth=1.4,
        markeredgecolor=colour,
        markerfacecolor=colour if marker.filled else PAPER,
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
