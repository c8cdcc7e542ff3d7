"""Photographs are told from drawings, documents and screens."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from sklearn.datasets import load_sample_images

from changeling.images.photographs import is_photograph, measure_colour_share, measure_straight_edges, measure_texture
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


def put_on_page(pictures: list[Image.Image], colour: str) -> Image.Image:
    """A screenshot: pictures side by side, with their names below, before an even background."""
    page = Image.new("RGB", (sum(picture.width + 40 for picture in pictures) + 40, 480), colour)
    pen = ImageDraw.Draw(page)
    left = 40
    for picture in pictures:
        page.paste(picture, (left, 50))
        pen.text((left, picture.height + 70), "Looks generated, 97 %", fill="grey", font_size=24)
        left += picture.width + 40
    return page


@pytest.mark.parametrize("colour", ["white", "#101418"])
def test_a_screenshot_that_holds_photographs_is_none_also_as_jpeg(colour: str) -> None:
    photographs = [Image.fromarray(pixels).resize((400, 300)) for pixels in load_sample_images().images]
    page = put_on_page(photographs, colour)
    assert measure_colour_share(page) < 0.9  # it has the colours of photographs
    assert not is_photograph(page)
    assert not is_photograph(save_as_jpeg(page))
    assert not is_photograph(page.resize((page.width * 2, page.height * 2)))


@pytest.mark.parametrize("pixels", load_sample_images().images)
@pytest.mark.parametrize("colours", [["black"], ["white"], ["white", "#222222"]])
def test_a_photograph_with_margins_and_frames_is_one(colours: list[str], pixels: np.ndarray) -> None:
    photograph = Image.fromarray(pixels).resize((400, 300))
    for colour in colours:
        photograph = ImageOps.expand(photograph, 40, colour)
    assert measure_straight_edges(photograph) == 0
    assert is_photograph(save_as_jpeg(photograph))
    letterbox = ImageOps.pad(photograph, (600, 600), color=colours[-1])
    assert measure_straight_edges(letterbox) == 0


def test_straight_edges_are_measured_in_perimeters() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    noise[100:200, 100:200] = 128  # its sides are 92 long where a neighbourhood of 9 is even
    assert measure_straight_edges(Image.fromarray(noise)) == pytest.approx(4 * 92 / 1200)
    noise[150, 100:200] = 0  # no upright side is as long as 64 now
    assert measure_straight_edges(Image.fromarray(noise)) == pytest.approx(4 * 92 / 1200)
    assert measure_straight_edges(Image.new("L", (300, 300))) == 0


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
