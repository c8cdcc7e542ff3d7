"""Deliveries: forms in which web sites, messengers and screens hand on the same picture.

They are fixed: the same picture gives the same pixels. A change of the table changes the verdicts of `detect --stable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from changeling.images.encode import Codec, recompress
from changeling.images.transforms import limit_aspect

MIN_SIDE = 32  # pixels of the short side; no delivery scales a picture below
REDUCED_SIDE = 512  # pixels of the short side; larger pictures are scaled down to at least this before all deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """A way to deliver a picture: cropped, scaled and saved, in this order.

    Attributes:
        name: for readers.
        crop: share of both sides that is left around the centre.
        scale: factor of both sides.
        resample: how it is scaled.
        codec: in which it is saved; None saves it without loss.
        quality: of the codec, 1 to 100.
    """

    name: str
    crop: float = 1.0
    scale: float = 1.0
    resample: Image.Resampling = Image.Resampling.BICUBIC
    codec: Codec | None = "JPEG"
    quality: int = 85


DELIVERIES = (
    Delivery("JPEG 60", quality=60),
    Delivery("WebP 80", codec="WEBP", quality=80),
    Delivery("three quarters of the size", scale=0.75, quality=85),
    Delivery("half the size", scale=0.5, quality=85),
    Delivery("crop", crop=0.9, quality=95),
    Delivery("screenshot", scale=0.9, resample=Image.Resampling.BILINEAR, codec=None),
)


def deliver_in_all_ways(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an RGB image of any size as it arrives by each of `DELIVERIES`."""
    reduced = reduce_for_delivery(image)
    for delivery in DELIVERIES:
        yield deliver(reduced, delivery)


def reduce_for_delivery(image: Image.Image) -> Image.Image:
    """Return an RGB image of any size as it is before all deliveries: not too long, and not too large."""
    image = limit_aspect(image)
    return image.reduce(max(min(image.size) // REDUCED_SIDE, 1))


def deliver(image: Image.Image, delivery: Delivery) -> Image.Image:
    """Return an RGB image as it arrives by a delivery: RGB, at least 1 x 1 pixel.

    Raises:
        ImageError: a side is too long for the codec.
    """
    image = image.crop(_centre_box(image.size, delivery.crop))
    scale = max(delivery.scale, min(MIN_SIDE / min(image.size), 1))
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    scaled = image.resize(size, delivery.resample)
    return scaled if delivery.codec is None else recompress(scaled, delivery.codec, delivery.quality)


def _centre_box(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a share of both sides around the centre, of at least one pixel."""
    width, height = (max(round(side * share), 1) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
