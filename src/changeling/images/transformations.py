"""Transformations: what cameras, editors and web sites do to a picture, at strengths from weak to strong.

Each draws its random choices (a direction, a place, a pattern of noise) from a key alone. The same key makes the same
choices at every strength, so that two strengths of a picture differ in nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from changeling.images.encode import WEB_QUALITY, Codec, recompress, reencode_for_web

_RESAMPLING = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR)
_OVERLAY = "SAMPLE"
_WHITE, _BLACK, _GREY = (255, 255, 255), (18, 18, 18), (140, 140, 140)


@dataclass(frozen=True, slots=True)
class Transformation:
    """A change to an image, at several strengths.

    Attributes:
        name: of the transformation, for readers; a change of `apply` or `strengths` needs a new `VERSION`.
        parameter: what the numbers in `strengths` are.
        strengths: from weak to strong.
        apply: (RGB image, strength, random generator) -> RGB image.
        keeps_size: whether the image has the same width and height afterwards.
    """

    name: str
    parameter: str
    strengths: tuple[float, ...]
    apply: Callable[[Image.Image, float, Generator], Image.Image]
    keeps_size: bool = True


def transform(image: Image.Image, transformation: Transformation, strength: float, key: str) -> Image.Image:
    """Apply a transformation to an RGB image, with the random choices that `key` draws.

    Raises:
        ImageError: the image is too large for the format that it is saved in.
    """
    digest = hashlib.sha256(f"{transformation.name}/{key}".encode()).digest()
    return transformation.apply(image, strength, np.random.default_rng(int.from_bytes(digest[:8], "big")))


def save_as_jpeg(image: Image.Image, quality: float, rng: Generator) -> Image.Image:
    """Save as JPEG of a quality (1 to 100), with subsampled chroma, and open it again."""
    return recompress(image, "JPEG", round(quality))


def save_as_webp(image: Image.Image, quality: float, rng: Generator) -> Image.Image:
    """Save as WebP of a quality (1 to 100), and open it again."""
    return recompress(image, "WEBP", round(quality))


def blur(image: Image.Image, deviation: float, rng: Generator) -> Image.Image:
    """Blur with a Gaussian whose standard deviation is in per cent of the short side."""
    return image.filter(ImageFilter.GaussianBlur(deviation / 100 * min(image.size)))


def add_noise(image: Image.Image, deviation: float, rng: Generator) -> Image.Image:
    """Add Gaussian noise to each value of each pixel; its standard deviation is in levels of 255."""
    noise = rng.standard_normal((image.height, image.width, 3), dtype=np.float32)
    noisy = np.asarray(image, dtype=np.float32) + np.float32(deviation) * noise
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


def resize_and_restore(image: Image.Image, share: float, rng: Generator) -> Image.Image:
    """Scale both sides down to a share of their length, and up again."""
    small = image.resize(_scale_size(image.size, share), Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def crop(image: Image.Image, share: float, rng: Generator) -> Image.Image:
    """Cut out a share of the area, at a random place and with the same aspect ratio."""
    width, height = _scale_size(image.size, math.sqrt(share))
    left, top = round(rng.random() * (image.width - width)), round(rng.random() * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def change_brightness(image: Image.Image, factor: float, rng: Generator) -> Image.Image:
    """Multiply or, for half of the images, divide all values by a factor."""
    return ImageEnhance.Brightness(image).enhance(_draw_direction(factor, rng))


def change_contrast(image: Image.Image, factor: float, rng: Generator) -> Image.Image:
    """Multiply or, for half of the images, divide the distance of all values from the mean by a factor."""
    return ImageEnhance.Contrast(image).enhance(_draw_direction(factor, rng))


def change_saturation(image: Image.Image, factor: float, rng: Generator) -> Image.Image:
    """Multiply or, for half of the images, divide the distance of all colours from grey by a factor."""
    return ImageEnhance.Color(image).enhance(_draw_direction(factor, rng))


def blend_with_grey(image: Image.Image, share: float, rng: Generator) -> Image.Image:
    """Blend with the greyscale image, which has this share of the result."""
    return Image.blend(image, image.convert("L").convert("RGB"), share)


def rotate(image: Image.Image, degrees: float, rng: Generator) -> Image.Image:
    """Rotate to a random side, and cut out the largest part of the same aspect ratio that has no empty corners."""
    angle, aspect = math.radians(degrees), image.width / image.height
    scale = 1 / (math.cos(angle) + math.sin(angle) * max(aspect, 1 / aspect))
    width, height = _scale_size(image.size, scale)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    direction = 1 if rng.random() < 0.5 else -1
    rotated = image.rotate(direction * degrees, Image.Resampling.BICUBIC)
    return rotated.crop((left, top, left + width, top + height))


def flip(image: Image.Image, axis: float, rng: Generator) -> Image.Image:
    """Mirror from left to right (1), or turn upside down (2)."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT if axis == 1 else Image.Transpose.ROTATE_180)


def write_text(image: Image.Image, height: float, rng: Generator) -> Image.Image:
    """Write a word over the image at a random place; the height of the type is in per cent of the short side."""
    size = max(height / 100 * min(image.size), 1)
    font, stroke = ImageFont.load_default(size), max(round(size / 12), 1)
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    left, top, right, bottom = draw.textbbox((0, 0), _OVERLAY, font, stroke_width=stroke)
    x = rng.random() * max(image.width - (right - left), 0) - left
    y = rng.random() * max(image.height - (bottom - top), 0) - top
    draw.text((x, y), _OVERLAY, _WHITE, font, stroke_width=stroke, stroke_fill=_BLACK)
    return marked


def take_screenshot(image: Image.Image, share: float, rng: Generator) -> Image.Image:
    """Show the image on a light or dark page, with lines of text around it, that takes up a share of the screen."""
    is_dark = rng.random() < 0.5
    page, ink = (_BLACK, _WHITE) if is_dark else (_WHITE, _BLACK)
    screen = Image.new("RGB", image.size, page)
    shown = image.resize(_scale_size(image.size, math.sqrt(1 - share)), Image.Resampling.BILINEAR)
    left, top = (screen.width - shown.width) // 2, round(0.4 * (screen.height - shown.height))
    draw = ImageDraw.Draw(screen)
    line = max(screen.height // 60, 1)  # the height of a line of text
    for number, y in enumerate(range(line, screen.height - line, 3 * line)):
        width = rng.uniform(0.4, 0.95) * screen.width
        draw.rectangle((left, y, left + width, y + line), fill=ink if number == 0 else _GREY)
    screen.paste(shown, (left, top))
    return screen


def share_repeatedly(image: Image.Image, times: float, rng: Generator) -> Image.Image:
    """Scale down to 85 to 98 % and save as JPEG or WebP of quality 60 to 85, as each of a chain of services does."""
    for _ in range(round(times)):
        size = _scale_size(image.size, rng.uniform(0.85, 0.98))
        codec: Codec = "JPEG" if rng.random() < 0.75 else "WEBP"
        smaller = image.resize(size, _RESAMPLING[rng.integers(len(_RESAMPLING))])
        image = recompress(smaller, codec, int(rng.integers(60, 86)))
    return image


def reencode(image: Image.Image, quality: float, rng: Generator) -> Image.Image:
    """Scale to a short side of at most 384 pixels and save as JPEG of a fixed quality, as `reencode_for_web` does."""
    return reencode_for_web(image)


def _draw_direction(factor: float, rng: Generator) -> float:
    """Return the factor, or its inverse for half of the keys."""
    return factor if rng.random() < 0.5 else 1 / factor


def _scale_size(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Return a share of both sides, in whole pixels of which there is at least one."""
    return max(round(size[0] * share), 1), max(round(size[1] * share), 1)


VERSION = "1"  # of all transformations: features of transformed images are stored under it
_ENHANCEMENTS = (1.1, 1.25, 1.5, 2.0, 3.0)

TRANSFORMATIONS = {
    transformation.name: transformation
    for transformation in (
        Transformation("JPEG", "quality", (90, 75, 50, 30, 10), save_as_jpeg),
        Transformation("WebP", "quality", (90, 75, 50, 30, 10), save_as_webp),
        Transformation("blur", "standard deviation, % of the short side", (0.15, 0.3, 0.6, 1.2, 2.4), blur),
        Transformation("noise", "standard deviation, of 255", (2, 5, 10, 20, 40), add_noise),
        Transformation("resize", "scale before it is restored", (0.75, 0.5, 0.35, 0.25, 0.125), resize_and_restore),
        Transformation("crop", "share of the area", (0.9, 0.75, 0.5, 0.3, 0.15), crop, keeps_size=False),
        Transformation("brightness", "factor or its inverse", _ENHANCEMENTS, change_brightness),
        Transformation("contrast", "factor or its inverse", _ENHANCEMENTS, change_contrast),
        Transformation("saturation", "factor or its inverse", _ENHANCEMENTS, change_saturation),
        Transformation("greyscale", "share of grey", (0.2, 0.4, 0.6, 0.8, 1.0), blend_with_grey),
        Transformation("rotation", "degrees", (2, 5, 10, 20, 45), rotate, keeps_size=False),
        Transformation("flip", "1 mirrored, 2 upside down", (1, 2), flip),
        Transformation("text", "height, % of the short side", (3, 5, 8, 12, 20), write_text),
        Transformation("screenshot", "share of the screen around it", (0.1, 0.2, 0.35, 0.5, 0.65), take_screenshot),
        Transformation("social media", "times shared", (1, 2, 3, 4, 5), share_repeatedly, keeps_size=False),
    )
}
REENCODING = Transformation("re-encoding", "JPEG quality", (WEB_QUALITY,), reencode, keeps_size=False)
