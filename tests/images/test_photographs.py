"""Photographs are told from drawings, documents and screens."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from changeling.images.photographs import is_photograph, measure_colour_share, measure_texture
from tests import helpers


def draw_document() -> Image.Image:
    page = Image.new("RGB", (600, 800), "white")
    pen = ImageDraw.Draw(page)
    for line in range(20, 780, 24):
        pen.text((30, line), "The detector is not trained on text. " * 2, fill="black")
    return page


def draw_diagram() -> Image.Image:
    page = Image.new("RGB", (640, 480), "#fafafa")
    pen = ImageDraw.Draw(page)
    for number, colour in enumerate(("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")):
        pen.rectangle((40 + 150 * number, 400 - 80 * number, 140 + 150 * number, 450), fill=colour, outline="black")
        pen.ellipse((60 + 150 * number, 30, 120 + 150 * number, 90), fill=colour)
    return page


def save_as_jpeg(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("pixels", load_sample_images().images)
def test_photographs_also_as_jpeg_small_and_large(pixels: np.ndarray) -> None:
    photograph = Image.fromarray(pixels)
    assert is_photograph(photograph)
    assert is_photograph(save_as_jpeg(photograph))
    assert is_photograph(photograph.resize((320, 213)))
    assert is_photograph(photograph.resize((1920, 1280)))
    assert is_photograph(photograph.convert("L").convert("RGB"))


@pytest.mark.parametrize("drawing", [draw_document(), draw_diagram()])
def test_documents_and_diagrams_also_as_jpeg_and_large(drawing: Image.Image) -> None:
    assert not is_photograph(drawing)
    assert not is_photograph(save_as_jpeg(drawing))
    assert not is_photograph(drawing.resize((drawing.width * 2, drawing.height * 2)))


def test_texture_is_neither_flat_nor_a_sharp_edge() -> None:
    flat = np.full((30, 30, 3), 100, np.uint8)
    edge, texture = flat.copy(), flat.copy()
    edge[:, 15:] = 200
    texture[::2] = 110
    assert [measure_texture(Image.fromarray(pixels)) for pixels in (flat, edge, texture)] == [0, 0, 1]


def test_colour_share_counts_the_eight_most_frequent_colours() -> None:
    levels = np.repeat(np.arange(0, 160, 16, dtype=np.uint8), 10).reshape(10, 10)
    assert measure_colour_share(Image.fromarray(np.stack([levels] * 3, axis=2))) == pytest.approx(0.8)
    assert measure_colour_share(helpers.natural(1)) < 0.5
