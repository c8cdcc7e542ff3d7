"""Maps of points side by side: a colour for each group, dots for children, triangles for parents.

Maps have neither axes nor ticks. A cloud of few points is drawn as shapes. In a cloud of many points, each layer is a
rectangle of the page's colour behind a lossless grey mask, so that a page of 30,000 points stays small and follows the
colour scheme.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from changeling.report.figures.style import format_css_colour
from changeling.results.format import format_count
from changeling.results.result import Cloud, Map

SIDE = 300.0  # of the square of a cloud, in the units of the drawing
MARGIN = 10.0
MAX_SHAPES = 2000  # a cloud of more points is drawn as masks
MASK_SIDE = 900  # pixels
GREY_LEVELS = 16
MIN_NUMBERED_GROUPS = 3  # groups from which parents have the number of their group beside them

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MapTile:
    """One cloud as SVG, with the numbers of its points as text."""

    title: str
    counts: str
    svg: str


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """An entry of the legend: a group's name, number and colour, and which shapes it has."""

    name: str
    number: str  # empty if groups are not numbered
    colour: str
    has_dots: bool
    has_triangles: bool


@dataclass(frozen=True, slots=True)
class _Layer:
    """The parents or the children of one group."""

    group: int
    is_child: bool
    points: Points  # (N, 2)


def draw_map(drawn: Map) -> list[MapTile]:
    """Return each cloud of a map as a square tile, with x and y to the same scale."""
    has_numbers = _has_numbers(drawn)
    return [_draw_tile(cloud, has_numbers) for cloud in drawn.clouds]


def build_legend(drawn: Map) -> list[LegendEntry]:
    """Return an entry for each group that has points, in order."""
    layers = [layer for cloud in drawn.clouds for layer in _split_layers(cloud)]
    has_numbers = _has_numbers(drawn)
    entries = []
    for index, name in enumerate(drawn.groups):
        kinds = {layer.is_child for layer in layers if layer.group == index}
        if kinds:
            number = str(index + 1) if has_numbers else ""
            colour = format_css_colour(index)
            entries.append(LegendEntry(name, number, colour, has_dots=True in kinds, has_triangles=False in kinds))
    return entries


def _has_numbers(drawn: Map) -> bool:
    """Whether groups are numbered: there are several, each with one parent, and all clouds are drawn as shapes."""
    are_shapes = all(len(cloud.x) <= MAX_SHAPES for cloud in drawn.clouds)
    parents = [layer for cloud in drawn.clouds for layer in _split_layers(cloud) if not layer.is_child]
    has_single_parents = all(len(layer.points) == 1 for layer in parents)
    return are_shapes and has_single_parents and len(drawn.groups) >= MIN_NUMBERED_GROUPS


def _split_layers(cloud: Cloud) -> list[_Layer]:
    """Return the layers from the bottom up: children by group, then parents by group, which are fewer."""
    points: dict[tuple[bool, int], list[tuple[float, float]]] = {}
    for x, y, group, child in zip(cloud.x, cloud.y, cloud.group, cloud.child, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            points.setdefault((not child, group), []).append((x, y))
    return [_Layer(group, not parent, np.array(points[parent, group])) for parent, group in sorted(points)]


def _draw_tile(cloud: Cloud, has_numbers: bool) -> MapTile:
    layers = _scale_layers(_split_layers(cloud))
    parents, children = (sum(len(layer.points) for layer in layers if layer.is_child == kind) for kind in (False, True))
    counts = (
        f"{format_count(parents, 'parent', 'parents')}, {format_count(children, 'child', 'children')}"
        if layers
        else "no points"
    )
    shapes = _draw_shapes(layers, has_numbers) if parents + children <= MAX_SHAPES else _draw_masks(layers)
    svg = f'<svg viewBox="0 0 {SIDE:g} {SIDE:g}" xmlns="http://www.w3.org/2000/svg">{shapes}</svg>'
    return MapTile(cloud.title, counts, svg)


def _scale_layers(layers: Sequence[_Layer]) -> list[_Layer]:
    """Fit all layers into the square, with one scale and y upwards."""
    if not layers:
        return []
    points = np.concatenate([layer.points for layer in layers])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    scale = np.array([1, -1]) * (SIDE - 2 * MARGIN) / extent
    middle = (low + high) / 2
    return [_Layer(layer.group, layer.is_child, (layer.points - middle) * scale + SIDE / 2) for layer in layers]


def _draw_shapes(layers: Sequence[_Layer], has_numbers: bool) -> str:
    """Return each point as a shape with an edge in the colour of the page, and numbers beside the parents."""
    total = sum(len(layer.points) for layer in layers)
    radius = 4.2 if total <= 200 else 3.0 if total <= 800 else 2.3
    parts = []
    for layer in layers:
        if layer.is_child:
            shapes = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in layer.points)
        else:
            half_width, above = 1.3 * radius, 1.5 * radius
            shapes = "".join(
                f'<path d="M{x:.1f} {y - above:.1f}l{half_width:.2f} {1.6 * above:.2f}h{-2 * half_width:.2f}z"/>'
                for x, y in layer.points
            )
        style = f"fill: {format_css_colour(layer.group)}; stroke: var(--paper, #fff); stroke-width: .8"
        parts.append(f'<g style="{style}">{shapes}</g>')
    if has_numbers:
        parts += [_draw_number(layer) for layer in layers if not layer.is_child]
    return "".join(parts)


def _draw_number(layer: _Layer) -> str:
    """Return the number of a group, beside its parent."""
    x, y = layer.points[0]
    style = (
        "font: 600 12px var(--sans, sans-serif); fill: var(--ink, #000); stroke: var(--paper, #fff); "
        "stroke-width: 3; paint-order: stroke; text-anchor: middle"
    )
    return f'<text x="{min(x + 11, SIDE - 6):.1f}" y="{max(y - 4, 11):.1f}" style="{style}">{layer.group + 1}</text>'


def _draw_masks(layers: Sequence[_Layer]) -> str:
    """Return each layer as a rectangle in its colour behind a mask."""
    total = sum(len(layer.points) for layer in layers)
    radius = float(np.clip(95 / math.sqrt(total), 0.6, 2.2))  # of a dot: smaller if there are more points
    parts = []
    for layer in layers:
        mask = _draw_mask(layer, radius)
        uri = "data:image/png;base64," + base64.b64encode(mask).decode("ascii")
        name = "m" + hashlib.sha256(mask).hexdigest()[:10]
        size = f'width="{SIDE:g}" height="{SIDE:g}"'
        parts.append(
            f'<mask id="{name}" maskUnits="userSpaceOnUse" x="0" y="0" {size}><image href="{uri}" {size}/></mask>'
            f'<rect {size} style="fill: {format_css_colour(layer.group)}" mask="url(#{name})"/>'
        )
    return "".join(parts)


def _draw_mask(layer: _Layer, radius: float) -> bytes:
    """Return a grey PNG: the denser the points, the lighter."""
    inch = SIDE / 72
    figure = Figure(figsize=(inch, inch), dpi=MASK_SIDE / inch, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0))
    marker, area, alpha = ("o", (2 * radius) ** 2, 0.6) if layer.is_child else ("^", (2.9 * radius) ** 2, 0.85)
    axes.scatter(
        layer.points[:, 0], layer.points[:, 1], s=area, marker=marker, color="white", alpha=alpha, linewidths=0
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    light = pixels[:, :, 0].astype(np.float64) / 255
    levels = np.rint(light * (GREY_LEVELS - 1)).astype(np.uint8)
    image = Image.frombytes("P", (MASK_SIDE, MASK_SIDE), levels.tobytes())
    image.putpalette([value for level in range(GREY_LEVELS) for value in [round(255 * level / (GREY_LEVELS - 1))] * 3])
    data = BytesIO()
    image.save(data, "PNG", bits=4, optimize=True)
    return data.getvalue()
