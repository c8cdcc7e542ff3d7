"""Maps: dots and triangles in the right places, one scale for x and y, and masks for clouds of many points."""

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

from changeling.report.figures.maps import MASK_SIDE, MAX_SHAPES, SIDE, build_legend, draw_map
from changeling.results.result import Cloud, Map, Result
from tests.report.samples import SVG, cloud, parse, texts


def make_map(*clouds: Cloud, groups: tuple[str, ...] = ("real", "fake")) -> Map:
    return Map(title="M", groups=groups, clouds=clouds)


def find_dots(svg: str) -> list[tuple[float, float]]:
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in parse(svg).iter(f"{SVG}circle")]


def read_masks(svg: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", svg)
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


def test_children_are_dots_below_the_triangles_of_parents() -> None:
    cloud = Cloud(title="Raw", x=(0, 1, 2), y=(0, 0, 1), group=(0, 1, 1), child=(False, True, True))
    (tile,) = draw_map(make_map(cloud))
    assert (tile.title, tile.counts) == ("Raw", "1 parent, 2 children")
    assert len(find_dots(tile.svg)) == 2
    assert tile.svg.count("<path") == 1
    assert tile.svg.index("<circle") < tile.svg.index("<path")
    assert tile.svg.index("var(--s1") < tile.svg.index("var(--s0")


def test_x_and_y_have_one_scale_and_y_points_up() -> None:
    cloud = Cloud(title="", x=(0, 10, 0), y=(0, 0, 5), group=(0, 0, 0), child=(True,) * 3)
    origin, right, up = find_dots(draw_map(make_map(cloud))[0].svg)
    assert right[0] - origin[0] == pytest.approx(2 * (origin[1] - up[1]))
    assert right[0] - origin[0] == pytest.approx(SIDE - 20)


def test_eight_clusters_have_numbers_and_colours(studied: list[Result]) -> None:
    eight = studied[4].maps[1]
    tile = draw_map(eight)[0]
    numbers = texts(tile.svg)
    assert numbers == [str(number) for number in range(1, 9)]
    entries = build_legend(eight)
    assert [entry.number for entry in entries] == numbers
    assert len({entry.colour for entry in entries}) == 8
    assert all(entry.has_dots and entry.has_triangles for entry in entries)
    assert set(re.findall(r"var\(--s\d", tile.svg)) == {f"var(--s{i}" for i in range(8)}


def test_the_legend_of_real_and_fake_has_a_shape_each(studied: list[Result]) -> None:
    assert [(e.name, e.number, e.has_dots, e.has_triangles) for e in build_legend(studied[4].maps[0])] == [
        ("real", "", False, True),
        ("fake", "", True, False),
    ]
    assert build_legend(make_map(groups=("unused",))) == []


def test_many_points_are_small_lossless_masks() -> None:
    (tile,) = draw_map(make_map(cloud("", 5000)))
    assert tile.counts == "5,000 parents, 25,000 children"
    assert len(tile.svg) < 250_000
    assert find_dots(tile.svg) == []
    masks = {mask.attrib["id"] for mask in parse(tile.svg).iter(f"{SVG}mask")}
    assert masks == set(re.findall(r"url\(#(m[0-9a-f]{10})\)", tile.svg))
    assert re.findall(r"var\(--s\d", tile.svg) == ["var(--s1", "var(--s0"]
    for image in read_masks(tile.svg):
        assert (image.format, image.size) == ("PNG", (MASK_SIDE, MASK_SIDE))


def test_a_mask_is_light_only_at_its_points() -> None:
    many = MAX_SHAPES + 2
    x, y = [0.0] * (many - 2) + [-1.0, 1.0], [0.0] * (many - 2) + [-1.0, 1.0]
    cloud = Cloud(title="", x=tuple(x), y=tuple(y), group=(0,) * many, child=(True,) * many)
    (image,) = read_masks(draw_map(make_map(cloud))[0].svg)
    light = np.asarray(image.convert("L"))
    middle = MASK_SIDE // 2
    assert light[middle - 1 : middle + 1, middle - 1 : middle + 1].min() > 240
    assert light[: MASK_SIDE // 3, : MASK_SIDE // 3].max() == 0  # the corner without points: y goes up
    assert light[: MASK_SIDE // 10, -MASK_SIDE // 10 :].max() > 0


def test_clouds_above_the_limit_are_drawn_as_masks() -> None:
    def line(points: int) -> Cloud:
        x = tuple(float(i) for i in range(points))
        return Cloud(title="", x=x, y=x, group=(0,) * points, child=(True,) * points)

    below, above = draw_map(make_map(line(MAX_SHAPES), line(MAX_SHAPES + 1)))
    assert "<mask" not in below.svg
    assert len(find_dots(below.svg)) == MAX_SHAPES
    assert "<mask" in above.svg


def test_the_same_map_gives_the_same_bytes() -> None:
    six = make_map(cloud("", 400))
    assert draw_map(six) == draw_map(six)


def test_a_cloud_without_points_is_an_empty_square() -> None:
    nothing = Cloud(title="", x=(math.nan,), y=(0,), group=(0,), child=(True,))
    (tile,) = draw_map(make_map(nothing))
    assert tile.counts == "no points"
    assert list(parse(tile.svg)) == []


points = st.tuples(st.floats(-1e9, 1e9) | st.just(math.inf), st.floats(-1e9, 1e9), st.integers(0, 11), st.booleans())


@settings(deadline=None)
@given(st.lists(points, max_size=30))
def test_every_point_is_drawn_inside_the_square(some: list[tuple[float, float, int, bool]]) -> None:
    x, y, group, child = zip(*some, strict=True) if some else ((), (), (), ())
    (tile,) = draw_map(make_map(Cloud(title="", x=x, y=y, group=group, child=child), groups=tuple("abcdefghijkl")))
    finite = [one for one in some if math.isfinite(one[0])]
    assert len(find_dots(tile.svg)) == sum(one[3] for one in finite)
    assert tile.svg.count("<path") == sum(not one[3] for one in finite)
    assert all(0 <= value <= SIDE for dot in find_dots(tile.svg) for value in dot)
