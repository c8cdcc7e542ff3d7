"""Maps: dots and triangles where they belong, one scale for x and y, and stencils where points are many."""

from __future__ import annotations

import base64
import math
import re
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from changeling.report.maps import PIXELS, SIDE, VECTOR, draw_map, legend
from changeling.results.result import Cloud, Map, Result
from tests.report.samples import SVG, cloud, parse, texts


def drawn(*clouds: Cloud, groups: tuple[str, ...] = ("real", "fake")) -> Map:
    return Map(title="M", groups=groups, clouds=clouds)


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in parse(svg).iter(f"{SVG}circle")]


def stencils(svg: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", svg)
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


def test_children_are_dots_and_parents_triangles_above_them() -> None:
    cloud = Cloud(title="Raw", x=(0, 1, 2), y=(0, 0, 1), group=(0, 1, 1), child=(False, True, True))
    (tile,) = draw_map(drawn(cloud))
    assert (tile.title, tile.counts) == ("Raw", "1 parent, 2 children")
    assert len(dots(tile.svg)) == 2
    assert tile.svg.count("<path") == 1
    assert tile.svg.index("<circle") < tile.svg.index("<path")
    assert tile.svg.index("var(--s1") < tile.svg.index("var(--s0")


def test_x_and_y_have_one_scale_and_y_goes_up() -> None:
    cloud = Cloud(title="", x=(0, 10, 0), y=(0, 0, 5), group=(0, 0, 0), child=(True,) * 3)
    origin, right, up = dots(draw_map(drawn(cloud))[0].svg)
    assert right[0] - origin[0] == pytest.approx(2 * (origin[1] - up[1]))
    assert right[0] - origin[0] == pytest.approx(SIDE - 20)


def test_eight_clusters_bear_numbers_beside_their_colours(studied: list[Result]) -> None:
    eight = studied[4].maps[1]
    tile = draw_map(eight)[0]
    numbers = texts(tile.svg)
    assert numbers == [str(number) for number in range(1, 9)]
    entries = legend(eight)
    assert [entry.number for entry in entries] == numbers
    assert len({entry.colour for entry in entries}) == 8
    assert all(entry.dot and entry.triangle for entry in entries)
    assert set(re.findall(r"var\(--s\d", tile.svg)) == {f"var(--s{i}" for i in range(8)}


def test_the_legend_of_real_and_fake_has_a_shape_each(studied: list[Result]) -> None:
    assert [(e.name, e.number, e.dot, e.triangle) for e in legend(studied[4].maps[0])] == [
        ("real", "", False, True),
        ("fake", "", True, False),
    ]
    assert legend(drawn(groups=("nobody",))) == []


def test_many_points_are_a_small_lossless_stencil_for_each_colour() -> None:
    (tile,) = draw_map(drawn(cloud("", 5000)))
    assert tile.counts == "5,000 parents, 25,000 children"
    assert len(tile.svg) < 250_000
    assert dots(tile.svg) == []
    masks = {mask.attrib["id"] for mask in parse(tile.svg).iter(f"{SVG}mask")}
    assert masks == set(re.findall(r"url\(#(m[0-9a-f]{10})\)", tile.svg))
    assert re.findall(r"var\(--s\d", tile.svg) == ["var(--s1", "var(--s0"]
    for image in stencils(tile.svg):
        assert (image.format, image.size) == ("PNG", (PIXELS, PIXELS))


def test_a_stencil_is_light_where_its_points_are_and_dark_elsewhere() -> None:
    many = VECTOR + 2
    x, y = [0.0] * (many - 2) + [-1.0, 1.0], [0.0] * (many - 2) + [-1.0, 1.0]
    cloud = Cloud(title="", x=tuple(x), y=tuple(y), group=(0,) * many, child=(True,) * many)
    (image,) = stencils(draw_map(drawn(cloud))[0].svg)
    light = np.asarray(image.convert("L"))
    middle = PIXELS // 2
    assert light[middle - 1 : middle + 1, middle - 1 : middle + 1].min() > 240
    assert light[: PIXELS // 3, : PIXELS // 3].max() == 0  # the corner without points: y goes up
    assert light[: PIXELS // 10, -PIXELS // 10 :].max() > 0


def test_shapes_give_way_to_stencils_above_two_thousand_points() -> None:
    def line(points: int) -> Cloud:
        x = tuple(float(i) for i in range(points))
        return Cloud(title="", x=x, y=x, group=(0,) * points, child=(True,) * points)

    below, above = draw_map(drawn(line(VECTOR), line(VECTOR + 1)))
    assert "<mask" not in below.svg
    assert len(dots(below.svg)) == VECTOR
    assert "<mask" in above.svg


def test_the_same_map_gives_the_same_bytes() -> None:
    six = drawn(cloud("", 400))
    assert draw_map(six) == draw_map(six)


def test_a_cloud_without_points_is_an_empty_square() -> None:
    nothing = Cloud(title="", x=(math.nan,), y=(0,), group=(0,), child=(True,))
    (tile,) = draw_map(drawn(nothing))
    assert tile.counts == "no points"
    assert list(parse(tile.svg)) == []


points = st.tuples(st.floats(-1e9, 1e9) | st.just(math.inf), st.floats(-1e9, 1e9), st.integers(0, 11), st.booleans())


@settings(deadline=None)
@given(st.lists(points, max_size=30))
def test_every_point_is_drawn_inside_the_square(some: list[tuple[float, float, int, bool]]) -> None:
    x, y, group, child = zip(*some, strict=True) if some else ((), (), (), ())
    (tile,) = draw_map(drawn(Cloud(title="", x=x, y=y, group=group, child=child), groups=tuple("abcdefghijkl")))
    there = [one for one in some if math.isfinite(one[0])]
    assert len(dots(tile.svg)) == sum(one[3] for one in there)
    assert tile.svg.count("<path") == sum(not one[3] for one in there)
    assert all(0 <= value <= SIDE for dot in dots(tile.svg) for value in dot)
