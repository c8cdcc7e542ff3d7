"""The map: colours, the part that is not seen, and the legend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.detect.explanation.contribution_map import LONG_SIDE, MIN_WIDTH, draw_map, write_map
from changeling.detect.explanation.contributions import Cell, Contributions
from changeling.detect.explanation.explain import Explanation
from changeling.errors import ChangelingError

GREY = (128, 128, 128)


def make_explanation(width: int, height: int) -> Explanation:
    """Of a square in the middle, with four cells: toward fake, toward real, noise and half as much toward fake."""
    side = min(width, height)
    left, top, half = (width - side) / 2, (height - side) / 2, side / 2
    values = [(2.0, 0.1), (-2.0, 0.1), (1.0, 1.5), (1.0, 0.1)]
    places = [(left, top), (left + half, top), (left, top + half), (left + half, top + half)]
    cells = [Cell((x, y, x + half, y + half), *value) for (x, y), value in zip(places, values, strict=True)]
    contributions = Contributions(score=1.5, blurred_score=-0.5, rows=2, cells=tuple(cells), passes=14)
    return Explanation("x.jpg", "tiny", width, height, 0.82, contributions)


def find_colour(drawn: Image.Image, x: float, y: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(drawn.getpixel((round(x), round(y))), dtype=np.int64)


@pytest.mark.parametrize(("width", "height"), [(600, 400), (400, 600), (3000, 2000), (90, 60)])
def test_cells_are_coloured_where_they_are_and_the_rest_is_faded(width: int, height: int) -> None:
    explanation = make_explanation(width, height)
    drawn = draw_map(explanation, Image.new("RGB", (300, 300 * height // width), GREY))  # decoded at another size
    scale = LONG_SIDE / max(width, height)
    fake, real, noise, weak = (
        find_colour(drawn, (box[0] + 0.2 * (box[2] - box[0])) * scale, (box[1] + 0.2 * (box[3] - box[1])) * scale)
        for box in (cell.box for cell in explanation.contributions.cells)
    )
    assert fake[0] > 180 > 80 > fake[2]  # orange
    assert real[2] > 140 > 80 > real[0]  # blue
    assert noise == pytest.approx(GREY, abs=1)
    assert np.abs(weak - GREY).sum() == pytest.approx(np.abs(fake - GREY).sum() / 2, rel=0.1)
    assert find_colour(drawn, 2, 2).tolist() == [213, 213, 213]


@pytest.mark.parametrize("colour", ["black", "white", "orange", "blue"])
def test_colours_of_cells_can_be_seen_on_any_picture(colour: str) -> None:
    drawn = draw_map(make_explanation(400, 400), Image.new("RGB", (400, 400), colour))
    fake, real, noise = (find_colour(drawn, x, y) for x, y in ((100, 100), (600, 100), (100, 600)))
    for first, second in ((fake, real), (fake, noise), (real, noise)):
        assert np.abs(first - second).max() > 60
    assert noise.max() == noise.min()  # a colour is always that of a contribution


def test_a_cell_within_noise_does_not_make_the_others_faint() -> None:
    explanation, maps = make_explanation(400, 400), []
    cells = explanation.contributions.cells
    for noise in (0.5, 50.0):
        changed = (*cells[:2], replace(cells[2], contribution=noise, margin=60.0), cells[3])
        contributions = replace(explanation.contributions, cells=changed)
        maps.append(draw_map(replace(explanation, contributions=contributions), Image.new("RGB", (400, 400), GREY)))
    assert find_colour(maps[0], 100, 100).tolist() == find_colour(maps[1], 100, 100).tolist()


def test_a_narrow_picture_has_room_for_its_legend() -> None:
    drawn = draw_map(make_explanation(100, 800), Image.new("RGB", (100, 800), GREY))
    assert drawn.width == MIN_WIDTH
    legend = np.asarray(drawn)[LONG_SIDE:]
    assert (legend.min(axis=2) < 100).any()  # text
    assert legend[:, -10:].min() == 255  # which ends before the border


def test_a_map_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ChangelingError, match=r"cannot write .*map\.png"):
        write_map(make_explanation(60, 40), Image.new("RGB", (60, 40)), tmp_path / "file" / "map.png")
