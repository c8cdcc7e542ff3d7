"""Whether an image is a photograph, or a drawing, document, diagram or screenshot, by statistics of its pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHORT_SIDE = 512  # a larger image is reduced to it
COLOURS = 8  # the most frequent ones count, of 32 levels a channel
TEXTURE = (3, 40)  # luminance range of a 3 x 3 neighbourhood: above the first and up to the second it is texture
# Fitted to about 1,200 photographs and generated pictures, and to 110 drawings, documents, icons and plots.
_TEXTURE_WEIGHT, _TEXTURE_OFFSET = 0.132, 0.003
_LIMIT = 1.146
EVEN_SIDE = 9  # an area is even where the luminance in each square of this side
EVEN_RANGE = 2  # has at most this range
MARGIN_RANGE = 4  # the luminance of a row or column of a margin has at most this range
MARGIN_BLUR = 8  # pixels into which JPEG smears the edge of a margin
EDGE_LENGTH = 64  # pixels of the reduced image: things in photographs have few edges so long, straight and level
# Fitted to 1,053 photographs and generated pictures, and to 320 screenshots of pages that hold photographs.
_EDGE_LIMIT = 0.4


def is_photograph(image: Image.Image) -> bool:
    """Whether an RGB image of at least 3 x 3 pixels has the colours, the texture and the edges of a photograph.

    Drawings have few colours and little texture. Screenshots and collages that hold photographs have even areas with
    long straight edges. Many icons, plots and texts that were scaled down and saved as JPEG pass as photographs, and so
    do pictures with shading, such as paintings.
    """
    if min(image.size) > SHORT_SIDE:
        scale = SHORT_SIDE / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    texture = math.log(measure_texture(image) + _TEXTURE_OFFSET)
    is_drawing = measure_colour_share(image) - _TEXTURE_WEIGHT * texture > _LIMIT
    return not is_drawing and measure_straight_edges(image) <= _EDGE_LIMIT


def measure_texture(image: Image.Image) -> float:
    """Return the share of 3 x 3 neighbourhoods that are neither flat nor at a sharp edge, in [0, 1]."""
    luminance = np.asarray(image.convert("L"))
    ranges = _measure_ranges(luminance, 3)
    low, high = TEXTURE
    return float(np.mean((ranges > low) & (ranges <= high)))


def measure_colour_share(image: Image.Image) -> float:
    """Return the share of pixels that have one of the most frequent colours, in (0, 1]."""
    red, green, blue = (np.asarray(channel).astype(np.int64) >> 3 for channel in image.split())
    counts = np.bincount((red << 10 | green << 5 | blue).ravel(), minlength=1 << 15)
    return float(np.sort(counts)[-COLOURS:].sum() / counts.sum())


def measure_straight_edges(image: Image.Image) -> float:
    """Return how long the level and upright edges of even areas are, in units of the perimeter of the image.

    Only straight pieces of at least EDGE_LENGTH pixels count. Margins and frames do not: photographs have them, too.
    """
    luminance = _crop_margins(np.asarray(image.convert("L")))
    if min(luminance.shape) <= EVEN_SIDE:
        return 0.0
    is_even = _measure_ranges(luminance, EVEN_SIDE) <= EVEN_RANGE
    length = 0
    for mask in (is_even, is_even.T):
        length += _sum_long_runs(mask[1:] & ~mask[:-1]) + _sum_long_runs(mask[:-1] & ~mask[1:])
    return length / (2 * sum(luminance.shape))


def _crop_margins(luminance: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part of (H, W) within all margins, which are outer rows and columns of one colour each.

    Of what is within a margin, MARGIN_BLUR pixels are cropped as well.
    """
    while luminance.size:
        rows, columns = (_find_span(luminance.max(axis) - luminance.min(axis) > MARGIN_RANGE) for axis in (1, 0))
        cropped = luminance[rows, columns]
        if cropped.shape == luminance.shape:
            break
        luminance = cropped
    return luminance


def _find_span(is_content: NDArray[np.bool_]) -> slice:
    """Return the rows between the margins, less their blurred ends; none if there is no content."""
    indices = np.flatnonzero(is_content)
    if not indices.size:
        return slice(0)
    first, last = int(indices[0]), int(indices[-1])
    start = first + MARGIN_BLUR if first else 0
    end = last + 1 - MARGIN_BLUR if last + 1 < len(is_content) else last + 1
    return slice(start, max(start, end))


def _sum_long_runs(mask: NDArray[np.bool_]) -> int:
    """Return how many elements of (H, W) lie in runs of at least EDGE_LENGTH along a row."""
    padded = np.pad(mask, ((0, 0), (1, 1)))
    starts, ends = np.flatnonzero(np.diff(padded.ravel())).reshape(-1, 2).T
    lengths = ends - starts
    return int(lengths[lengths >= EDGE_LENGTH].sum())


def _measure_ranges(values: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the range in each square of (H, W) with this side, of shape (H - side + 1, W - side + 1)."""
    highest, lowest = (
        _combine_rows(_combine_rows(values, side, combine).T, side, combine).T for combine in (np.maximum, np.minimum)
    )
    ranges: NDArray[np.uint8] = highest - lowest
    return ranges


def _combine_rows(values: NDArray[np.uint8], count: int, combine: np.ufunc) -> NDArray[np.uint8]:
    """Return the combination of each `count` successive rows of (H, W), of shape (H - count + 1, W)."""
    combined = 1
    while combined < count:
        step = min(combined, count - combined)
        values = combine(values[:-step], values[step:])
        combined += step
    return values
