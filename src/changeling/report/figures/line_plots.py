"""Line plots as small multiples: curves over a shared scale, 95 % intervals as bands, chance as a dashed line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from changeling.report.figures.style import (
    FONT_SIZE,
    MUTED,
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
from changeling.results.format import format_label
from changeling.results.result import Curve, Plot

WIDTH, HEIGHT = 236.0, 166.0  # points
LEFT, RIGHT, TOP, BOTTOM = 38.0, 10.0, 10.0, 36.0  # margins; TOP is larger by LINE_HEIGHT for each line of the y label
LINE_HEIGHT = 12.0  # of text
MAX_MARKED_POINTS = 20  # a curve of more points has no markers
DASHES = ("", "8 4", "2.4 3.2", "11 3.2 2.4 3.2")
MIN_LOG_VALUE = 1e-30  # smaller values are left out on a log axis
NARROW_RANGE = 50  # a log axis over less than this factor has ticks between the powers of ten
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_Points = list[tuple[float, float, float, float]]  # x, y, low, high; low and high are NaN without an interval


@dataclass(frozen=True, slots=True)
class LineStyle:
    """The colour and the dashes of all curves of one name."""

    name: str
    index: int

    @property
    def dash(self) -> str:
        """Lengths of dashes and gaps as in SVG; empty for a solid line."""
        return DASHES[self.index % len(DASHES)]


@dataclass(frozen=True, slots=True)
class PlotGroup:
    """Plots of one measure, drawn over one scale, with one legend."""

    title: str
    panels: tuple[Panel, ...]
    lines: tuple[LineStyle, ...]
    has_intervals: bool
    chance: str  # the levels of chance as text
    notes: tuple[str, ...]


def draw_line_plots(plots: Iterable[Plot]) -> list[PlotGroup]:
    """Draw plots, grouped by title and axes. Curves of one name have the same style in all groups."""
    groups: dict[tuple[object, ...], list[Plot]] = {}
    style_indices: dict[str, int] = {}
    for plot in plots:
        if any(_find_points(plot, curve) for curve in plot.curves):
            for curve in plot.curves:
                style_indices.setdefault(curve.name, len(style_indices))
            axes = (plot.x_label, plot.y_label, plot.x_log, plot.y_log, plot.share)
            groups.setdefault((plot.title, *axes), []).append(plot)
    return [_draw_group(group, style_indices) for group in groups.values()]


def _draw_group(plots: Sequence[Plot], style_indices: Mapping[str, int]) -> PlotGroup:
    names = dict.fromkeys(curve.name for plot in plots for curve in plot.curves)
    levels = sorted({plot.chance for plot in plots if plot.chance is not None})
    limits = _find_limits(plots)
    return PlotGroup(
        title=plots[0].title,
        panels=tuple(Panel(format_label(plot.of), _draw_panel(plot, style_indices, limits)) for plot in plots),
        lines=tuple(LineStyle(name, style_indices[name]) for name in names),
        has_intervals=any(
            math.isfinite(low) for plot in plots for curve in plot.curves for *_, low, _ in _find_points(plot, curve)
        ),
        chance=" and ".join(f"{100 * level:.3g} %" if plots[0].share else f"{level:.3g}" for level in levels),
        notes=tuple(dict.fromkeys(plot.note for plot in plots if plot.note)),
    )


def _find_points(plot: Plot, curve: Curve) -> _Points:
    """Return the points of a curve that can be drawn: finite, and on a log axis at least MIN_LOG_VALUE."""
    no_interval = (math.nan,) * len(curve.x)
    return [
        (x, y, low, high)
        for x, y, low, high in zip(curve.x, curve.y, curve.low or no_interval, curve.high or no_interval, strict=True)
        if _is_drawable(x, plot.x_log) and _is_drawable(y, plot.y_log)
    ]


def _is_drawable(value: float, is_log: bool) -> bool:
    return math.isfinite(value) and (value > MIN_LOG_VALUE or not is_log)


def _find_limits(plots: Sequence[Plot]) -> tuple[float, float]:
    """Return the range of y of all plots of a group."""
    values = [plot.chance for plot in plots if plot.chance is not None and _is_drawable(plot.chance, plot.y_log)]
    for plot in plots:
        for curve in plot.curves:
            values += [v for _, *ys in _find_points(plot, curve) for v in ys if _is_drawable(v, plot.y_log)]
    low, high = min(values), max(values)
    if plots[0].share:
        return choose_limits(low, high)
    if plots[0].y_log:
        return low / 1.5, high * 1.5
    pad = 0.06 * (high - low) or 0.06 * abs(high) or 1
    return low - pad, high + pad


def _draw_panel(plot: Plot, style_indices: Mapping[str, int], limits: tuple[float, float]) -> str:
    label = wrap_text(clean_text(plot.y_label), 42)
    top = TOP + LINE_HEIGHT * len(label.split("\n"))
    height = HEIGHT + top - TOP - LINE_HEIGHT

    def paint(figure: Figure) -> None:
        box = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (top + BOTTOM) / height)
        axes = figure.add_axes(box)
        figure.text(4 / WIDTH, 1 - 4 / height, label, color=MUTED, size=FONT_SIZE - 0.5, va="top", linespacing=1)
        axes.set_xlabel(wrap_text(clean_text(plot.x_label), 38), color=MUTED, size=FONT_SIZE - 0.5, labelpad=3)
        if plot.chance is not None and _is_drawable(plot.chance, plot.y_log):
            axes.axhline(plot.chance, color=MUTED, linewidth=1, dashes=(4, 3))
        for curve in plot.curves:
            _draw_curve(axes, _find_points(plot, curve), LineStyle(curve.name, style_indices[curve.name]))
        _draw_axes(axes, plot, limits)

    return render_svg(WIDTH, height, f"{plot.title} {plot.of}", paint)


def _draw_axes(axes: Axes, plot: Plot, limits: tuple[float, float]) -> None:
    axes.set_ylim(*limits)
    hide_frame(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    for axis, is_log in ((axes.xaxis, plot.x_log), (axes.yaxis, plot.y_log)):
        if is_log:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1,) if high / low > NARROW_RANGE else (1, 2, 5), numticks=6))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(MaxNLocator(5, integer=axis is axes.xaxis))
        axis.set_major_formatter(FuncFormatter(lambda value, _, is_log=is_log: _format_tick(value, is_log)))
    if plot.share:
        format_share_axis(axes.yaxis)
    axes.spines["bottom"].set(visible=True, color=RULE, linewidth=0.7)


def _draw_curve(axes: Axes, points: _Points, style: LineStyle) -> None:
    """Draw a line, with markers if it has few points, and a band for the interval."""
    if not points:
        return
    colour = SERIES[style.index % len(SERIES)]
    x, y, low, high = zip(*points, strict=True)
    if any(math.isfinite(end) for end in low):
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    dash = tuple(float(length) for length in style.dash.split())
    has_markers = len(points) <= MAX_MARKED_POINTS
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.6,
        linestyle=(0, dash) if dash else "-",
        marker="o" if has_markers else "",
        markersize=3.6,
        markeredgewidth=0,
    )


def _format_tick(value: float, is_log: bool) -> str:
    """Return the label of a tick; on a log axis, values far from 1 are powers of ten: 2·10⁻⁶."""
    exponent = math.floor(math.log10(value) + 1e-9) if is_log else 0
    if abs(exponent) < 4:
        return f"{value:.6g}".replace("-", "−")
    times = f"{value / 10.0**exponent:.3g}"
    return ("" if times == "1" else f"{times}·") + "10" + str(exponent).translate(_SUPERSCRIPT)
