"""Maps of many points side by side: a colour a group, dots for children, triangles for parents.

A map is drawn by hand: it has neither ticks nor text. Of few points each is a shape. Of many, each layer is a lossless
stencil of grey levels through which the page's own colour shows, so that a page of 30,000 points stays small, and
keeps its colours by night.
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

from changeling.report.style import colour
from changeling.results.format import format_count
from changeling.results.result import Cloud, Map

SIDE = 300.0  # of a cloud's square, in the units of the drawing
MARGIN = 10.0
VECTOR = 2000  # a cloud of more points is a stencil
PIXELS = 900  # of a stencil's side
GREYS = 16
NUMBERED = 3  # groups, from which on the parents of a map of shapes bear their group's number

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tile:
    """One cloud as SVG, with how many points it has."""

    title: str
    counts: str
    svg: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend: a group's name, number and colour, and the shapes that it has."""

    name: str
    number: str
    colour: str
    dot: bool
    triangle: bool


@dataclass(frozen=True, slots=True)
class _Layer:
    """The parents or the children of one group."""

    group: int
    child: bool
    points: Points  # (N, 2)


def draw_map(drawn: Map) -> list[Tile]:
    """Draw each cloud of a map as a square, x and y to the same scale."""
    numbered = _numbered(drawn)
    return [_tile(cloud, numbered) for cloud in drawn.clouds]


def legend(drawn: Map) -> list[Entry]:
    """The groups of a map that have points, in order."""
    layers = [layer for cloud in drawn.clouds for layer in _layers(cloud)]
    numbered = _numbered(drawn)
    entries = []
    for index, name in enumerate(drawn.groups):
        children = {layer.child for layer in layers if layer.group == index}
        if children:
            number = str(index + 1) if numbered else ""
            entries.append(Entry(name, number, colour(index), dot=True in children, triangle=False in children))
    return entries


def _numbered(drawn: Map) -> bool:
    few = all(len(cloud.x) <= VECTOR for cloud in drawn.clouds)
    parents = all(len(layer.points) == 1 for cloud in drawn.clouds for layer in _layers(cloud) if not layer.child)
    return few and parents and len(drawn.groups) >= NUMBERED


def _layers(cloud: Cloud) -> list[_Layer]:
    """Children group by group, and the parents, who are fewer, above them."""
    points: dict[tuple[bool, int], list[tuple[float, float]]] = {}
    for x, y, group, child in zip(cloud.x, cloud.y, cloud.group, cloud.child, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            points.setdefault((not child, group), []).append((x, y))
    return [_Layer(group, not parent, np.array(points[parent, group])) for parent, group in sorted(points)]


def _tile(cloud: Cloud, numbered: bool) -> Tile:
    layers = _placed(_layers(cloud))
    parents, children = (sum(len(layer.points) for layer in layers if layer.child == kind) for kind in (False, True))
    counts = (
        f"{format_count(parents, 'parent', 'parents')}, {format_count(children, 'child', 'children')}"
        if layers
        else "no points"
    )
    shapes = _shapes(layers, numbered) if parents + children <= VECTOR else _stencils(layers)
    svg = f'<svg viewBox="0 0 {SIDE:g} {SIDE:g}" xmlns="http://www.w3.org/2000/svg">{shapes}</svg>'
    return Tile(cloud.title, counts, svg)


def _placed(layers: Sequence[_Layer]) -> list[_Layer]:
    """Fit all layers into the square, to one scale, y upwards."""
    if not layers:
        return []
    every = np.concatenate([layer.points for layer in layers])
    low, high = every.min(axis=0), every.max(axis=0)
    extent = float((high - low).max()) or 1.0
    scale = np.array([1, -1]) * (SIDE - 2 * MARGIN) / extent
    middle = (low + high) / 2
    return [_Layer(one.group, one.child, (one.points - middle) * scale + SIDE / 2) for one in layers]


def _shapes(layers: Sequence[_Layer], numbered: bool) -> str:
    """Each point as a shape of its own, with an edge of paper; each parent's number beside it."""
    total = sum(len(layer.points) for layer in layers)
    r = 4.2 if total <= 200 else 3.0 if total <= 800 else 2.3
    parts = []
    for layer in layers:
        if layer.child:
            marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>' for x, y in layer.points)
        else:
            a, b = 1.3 * r, 1.5 * r
            marks = "".join(
                f'<path d="M{x:.1f} {y - b:.1f}l{a:.2f} {1.6 * b:.2f}h{-2 * a:.2f}z"/>' for x, y in layer.points
            )
        style = f"fill: {colour(layer.group)}; stroke: var(--paper, #fff); stroke-width: .8"
        parts.append(f'<g style="{style}">{marks}</g>')
    if numbered:
        parts += [_number(layer) for layer in layers if not layer.child]
    return "".join(parts)


def _number(layer: _Layer) -> str:
    """The number of a group, beside its parent."""
    x, y = layer.points[0]
    style = (
        "font: 600 12px var(--sans, sans-serif); fill: var(--ink, #000); stroke: var(--paper, #fff); "
        "stroke-width: 3; paint-order: stroke; text-anchor: middle"
    )
    return f'<text x="{min(x + 11, SIDE - 6):.1f}" y="{max(y - 4, 11):.1f}" style="{style}">{layer.group + 1}</text>'


def _stencils(layers: Sequence[_Layer]) -> str:
    """Each layer as a rectangle of its colour behind a stencil."""
    total = sum(len(layer.points) for layer in layers)
    size = float(np.clip(95 / math.sqrt(total), 0.6, 2.2))  # of a dot's radius: the more, the smaller
    parts = []
    for layer in layers:
        stencil = _stencil(layer, size)
        uri = "data:image/png;base64," + base64.b64encode(stencil).decode("ascii")
        name = "m" + hashlib.sha256(stencil).hexdigest()[:10]
        whole = f'width="{SIDE:g}" height="{SIDE:g}"'
        parts.append(
            f'<mask id="{name}" maskUnits="userSpaceOnUse" x="0" y="0" {whole}><image href="{uri}" {whole}/></mask>'
            f'<rect {whole} style="fill: {colour(layer.group)}" mask="url(#{name})"/>'
        )
    return "".join(parts)


def _stencil(layer: _Layer, size: float) -> bytes:
    """A PNG of grey levels: the denser the points, the lighter."""
    inch = SIDE / 72
    figure = Figure(figsize=(inch, inch), dpi=PIXELS / inch, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0))
    marker, area, alpha = ("o", (2 * size) ** 2, 0.6) if layer.child else ("^", (2.9 * size) ** 2, 0.85)
    axes.scatter(
        layer.points[:, 0], layer.points[:, 1], s=area, marker=marker, color="white", alpha=alpha, linewidths=0
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    light = pixels[:, :, 0].astype(np.float64) / 255
    levels = np.rint(light * (GREYS - 1)).astype(np.uint8)
    image = Image.frombytes("P", (PIXELS, PIXELS), levels.tobytes())
    image.putpalette([value for level in range(GREYS) for value in [round(255 * level / (GREYS - 1))] * 3])
    data = BytesIO()
    image.save(data, "PNG", bits=4, optimize=True)
    return data.getvalue()
