"""Thumbnails of image files from any source."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from changeling.report.thumbnails import HEIGHT, MAX_WIDTH, make_thumbnail

PREFIX = "data:image/webp;base64,"


def decode(uri: str) -> Image.Image:
    assert uri.startswith(PREFIX)
    return Image.open(BytesIO(base64.b64decode(uri.removeprefix(PREFIX))))


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((640, 480), (214, 160)),
        ((1024, 2048), (80, 160)),
        ((40, 30), (20, 15)),
        ((3000, 300), (MAX_WIDTH, 40)),
        ((1, 5000), (1, HEIGHT)),
    ],
)
def test_an_image_has_twice_its_size_in_css_pixels_at_most(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "a.png")
    made = make_thumbnail(tmp_path / "a.png")
    assert (made.width, made.height) == shown
    image = decode(made.uri)
    assert image.width <= 2 * MAX_WIDTH
    assert image.height <= 2 * HEIGHT
    red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > 150 > green
    assert red > 150 > blue


def test_a_thumbnail_is_small_and_holds_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    Image.effect_noise((2000, 1500), 60).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    made = make_thumbnail(tmp_path / "a.jpg")
    assert len(made.uri) < 150_000
    assert not decode(made.uri).getexif()


def test_an_unreadable_file_is_an_empty_thumbnail_with_its_error(tmp_path: Path) -> None:
    png = BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    (tmp_path / "cut.png").write_bytes(png.getvalue()[:60])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    names = ("cut.png", "text.png", "empty.png", "missing.png", "", "nul\0.png", "latin-\udce9.png", "x" * 5000)
    for name in names:
        made = make_thumbnail(tmp_path / name)
        assert made.uri == ""
        assert made.missing
        assert made.ratio == 1


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    Image.effect_noise((500, 300), 60).save(tmp_path / "a.png")
    assert make_thumbnail(tmp_path / "a.png") == make_thumbnail(tmp_path / "a.png")
