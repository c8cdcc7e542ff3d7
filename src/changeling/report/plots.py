"""Plots as small multiples: lines over a shared scale, bands for the 95 % interval, chance dashed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from changeling.report.figures import Panel
from changeling.report.style import FONT, MUTED, RULE, SERIES, bare, clean, render, shares, wrapped, zoomed
from changeling.results.format import format_label
from changeling.results.result import Curve, Plot

WIDTH, HEIGHT = 236.0, 166.0  # points
LEFT, RIGHT, TOP, BOTTOM = 38.0, 10.0, 10.0, 36.0  # margins; each line of the y axis's name adds to TOP
LINE = 12.0  # height of a line of text
FEW = 20  # a curve of so many points has each of them marked
DASHES = ("", "8 4", "2.4 3.2", "11 3.2 2.4 3.2")
TINY = 1e-30  # what is not above it is nothing, and on a log axis nowhere
NARROW = 50  # a log axis over less than this factor has ticks between the powers of ten
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_Points = list[tuple[float, float, float, float]]  # x, y, low, high; no interval: NaN


@dataclass(frozen=True, slots=True)
class Line:
    """How the curves of one name are drawn."""

    name: str
    index: int

    @property
    def dash(self) -> str:
        """Lengths of dashes and gaps, as SVG has them; empty: a solid line."""
        return DASHES[self.index % len(DASHES)]


@dataclass(frozen=True, slots=True)
class Family:
    """Plots that show the same measure of different things, drawn to one scale with one legend."""

    title: str
    panels: tuple[Panel, ...]
    lines: tuple[Line, ...]
    bands: bool  # whether any curve has intervals
    chance: str  # the levels that guessing reaches, in words
    notes: tuple[str, ...]


def families(plots: Iterable[Plot]) -> list[Family]:
    """Draw plots. Those of one title and the same axes are put together.

    A name of a curve looks the same in all of them.
    """
    kin: dict[tuple[object, ...], list[Plot]] = {}
    names: dict[str, int] = {}
    for plot in plots:
        if any(_points(plot, curve) for curve in plot.curves):
            for curve in plot.curves:
                names.setdefault(curve.name, len(names))
            axes = (plot.x_label, plot.y_label, plot.x_log, plot.y_log, plot.share)
            kin.setdefault((plot.title, *axes), []).append(plot)
    return [_family(some, names) for some in kin.values()]


def _family(plots: Sequence[Plot], names: Mapping[str, int]) -> Family:
    here = dict.fromkeys(curve.name for plot in plots for curve in plot.curves)
    levels = sorted({plot.chance for plot in plots if plot.chance is not None})
    limits = _limits(plots)
    return Family(
        title=plots[0].title,
        panels=tuple(Panel(format_label(plot.of), _panel(plot, names, limits)) for plot in plots),
        lines=tuple(Line(name, names[name]) for name in here),
        bands=any(math.isfinite(low) for plot in plots for curve in plot.curves for *_, low, _ in _points(plot, curve)),
        chance=" and ".join(f"{100 * level:.3g} %" if plots[0].share else f"{level:.3g}" for level in levels),
        notes=tuple(dict.fromkeys(plot.note for plot in plots if plot.note)),
    )


def _points(plot: Plot, curve: Curve) -> _Points:
    """The points of a curve that can be drawn: on a log axis nothing has no place."""
    nothing = (math.nan,) * len(curve.x)
    return [
        (x, y, low, high)
        for x, y, low, high in zip(curve.x, curve.y, curve.low or nothing, curve.high or nothing, strict=True)
        if _drawable(x, plot.x_log) and _drawable(y, plot.y_log)
    ]


def _drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > TINY or not log)


def _limits(plots: Sequence[Plot]) -> tuple[float, float]:
    """The range of y that all plots of a family share."""
    values = [plot.chance for plot in plots if plot.chance is not None and _drawable(plot.chance, plot.y_log)]
    for plot in plots:
        for curve in plot.curves:
            values += [v for _, *some in _points(plot, curve) for v in some if _drawable(v, plot.y_log)]
    low, high = min(values), max(values)
    if plots[0].share:
        return zoomed(low, high)
    if plots[0].y_log:
        return low / 1.5, high * 1.5
    pad = 0.06 * (high - low) or 0.06 * abs(high) or 1
    return low - pad, high + pad


def _panel(plot: Plot, names: Mapping[str, int], limits: tuple[float, float]) -> str:
    label = wrapped(clean(plot.y_label), 42)
    top = TOP + LINE * len(label.split("\n"))
    height = HEIGHT + top - TOP - LINE

    def paint(figure: Figure) -> None:
        box = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (top + BOTTOM) / height)
        axes = figure.add_axes(box)
        figure.text(4 / WIDTH, 1 - 4 / height, label, color=MUTED, size=FONT - 0.5, va="top", linespacing=1)
        axes.set_xlabel(wrapped(clean(plot.x_label), 38), color=MUTED, size=FONT - 0.5, labelpad=3)
        if plot.chance is not None and _drawable(plot.chance, plot.y_log):
            axes.axhline(plot.chance, color=MUTED, linewidth=1, dashes=(4, 3))
        for curve in plot.curves:
            _draw_curve(axes, _points(plot, curve), Line(curve.name, names[curve.name]))
        _draw_axes(axes, plot, limits)

    return render(WIDTH, height, f"{plot.title} {plot.of}", paint)


def _draw_axes(axes: Axes, plot: Plot, limits: tuple[float, float]) -> None:
    axes.set_ylim(*limits)
    bare(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    for axis, log in ((axes.xaxis, plot.x_log), (axes.yaxis, plot.y_log)):
        if log:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1,) if high / low > NARROW else (1, 2, 5), numticks=6))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(MaxNLocator(5, integer=axis is axes.xaxis))
        axis.set_major_formatter(FuncFormatter(lambda value, _, log=log: _number(value, log)))
    if plot.share:
        shares(axes, "y")
    axes.spines["bottom"].set(visible=True, color=RULE, linewidth=0.7)


def _draw_curve(axes: Axes, points: _Points, line: Line) -> None:
    """Draw a line, its points if they are few, and a band from the lower to the upper ends."""
    if not points:
        return
    colour = SERIES[line.index % len(SERIES)]
    x, y, low, high = zip(*points, strict=True)
    if any(math.isfinite(end) for end in low):
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    dash = tuple(float(length) for length in line.dash.split())
    marked = len(points) <= FEW
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.6,
        linestyle=(0, dash) if dash else "-",
        marker="o" if marked else "",
        markersize=3.6,
        markeredgewidth=0,
    )


def _number(value: float, log: bool) -> str:
    """Print a tick: on a log axis what is far from one as a power of ten, 2·10⁻⁶."""
    exponent = math.floor(math.log10(value) + 1e-9) if log else 0
    if abs(exponent) < 4:
        return f"{value:.6g}".replace("-", "−")
    times = f"{value / 10.0**exponent:.3g}"
    return ("" if times == "1" else f"{times}·") + "10" + str(exponent).translate(_SUPERSCRIPT)
