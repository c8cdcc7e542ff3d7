"""Draw three pictures that belong to nobody: they are computed, from numbers with a fixed seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

WIDTH, HEIGHT = 640, 448
PARAMETERS = "waves in the evening\nSteps: 20, Sampler: Euler, Seed: 1, Size: 640x448, Model: sd15"
Floats = NDArray[np.float64]


def draw_pictures(folder: Path) -> list[Path]:
    """Write hills.png, poster.png, and waves.png with the parameters of a generator in its file. Return their paths."""
    folder.mkdir(parents=True)
    paths = [folder / name for name in ("hills.png", "waves.png", "poster.png")]
    parameters = PngInfo()
    parameters.add_text("parameters", PARAMETERS)
    _add_grain(_draw_hills()).save(paths[0])
    _add_grain(_draw_waves()).save(paths[1], pnginfo=parameters)
    _draw_poster().save(paths[2])
    return paths


def _draw_hills() -> Floats:
    """Return three ridges below clouds, in [0, 255]."""
    height = np.linspace(0, 1, HEIGHT)[:, None] * np.ones((1, WIDTH))
    clouds = _blend(np.clip(2 * _draw_noise(3, 1.7) - 0.7, 0, 1), (60, 110, 175), (245, 245, 250))
    picture = 0.6 * clouds + 0.4 * _blend(height, (240, 190, 150), (250, 220, 190))
    ridges = ((0.45, (120, 135, 160)), (0.6, (75, 95, 105)), (0.78, (40, 60, 45)))
    for number, (top, colour) in enumerate(ridges):
        ridge = top - 0.36 * (_draw_noise(4 + number, 1.9)[40] - 0.5)
        texture = _blend(_draw_noise(12 + number, 1.0), (0.7, 0.7, 0.7), (1.3, 1.3, 1.3))
        picture = np.where((height > ridge)[..., None], np.asarray(colour) * texture, picture)
    return picture


def _draw_waves() -> Floats:
    """Return waves that come nearer toward the lower edge, in [0, 255]."""
    height = np.linspace(0, 1, HEIGHT)[:, None]
    waves = np.sin(360 * np.sqrt(height + 0.05) + 8 * _draw_noise(20, 1.6))
    return _blend((0.5 * waves + 0.5) * (0.3 + 0.7 * height), (10, 35, 60), (150, 190, 200))


def _draw_poster() -> Image.Image:
    """Return a poster of a few even areas."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "#f3ead8")
    draw = ImageDraw.Draw(image)
    draw.ellipse((380, 50, 560, 230), fill="#d9482b")
    draw.polygon([(0, HEIGHT), (200, 150), (420, HEIGHT)], fill="#1f4e79")
    draw.polygon([(250, HEIGHT), (430, 240), (WIDTH, HEIGHT)], fill="#2a9d8f")
    return image


def _draw_noise(seed: int, exponent: float) -> Floats:
    """Return noise in [0, 1] whose amplitudes fall with this power of the frequency: 1 is rough, 2 is smooth."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)[None, :])
    frequency[0, 0] = np.inf
    white = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH))
    noise: Floats = np.fft.ifft2(np.fft.fft2(white) / frequency**exponent).real
    low, high = noise.min(), noise.max()
    scaled: Floats = (noise - low) / (high - low)
    return scaled


def _blend(share: Floats, low: tuple[float, ...], high: tuple[float, ...]) -> Floats:
    """Return colours from `low`, where the share is 0, to `high`, where it is 1."""
    blended: Floats = np.asarray(low) + share[..., None] * np.subtract(high, low)
    return blended


def _add_grain(picture: Floats) -> Image.Image:
    """Return an image with grain, as a camera's sensor gives."""
    grain = np.random.default_rng(5).normal(scale=9, size=(HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))
