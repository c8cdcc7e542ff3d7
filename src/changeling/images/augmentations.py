"""Augmentations: other forms in which the same picture may arrive: resized, saved again, cropped, mirrored."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from changeling.images.encode import Codec, compress
from changeling.images.transforms import resize_short

_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A random change to an image before its preprocessing.

    Attributes:
        name: under which features of the changed images are stored; a change of `apply` needs a new name.
        apply: (RGB image, key) -> RGB image; the same key draws the same change.
    """

    name: str
    apply: Callable[[Image.Image, str], Image.Image]


def crop_and_resave(image: Image.Image, key: str) -> Image.Image:
    """Resave an RGB image, crop half to all of its area to a square, and mirror it half of the time.

    Sizes, codecs, qualities and crops are drawn from one distribution for all images: a classifier cannot tell real
    from fake by them. The same `key` draws the same change.
    """
    draw = random.Random(key)  # noqa: S311 (a seed, not a secret)
    image = _resave_at_random(image, draw)
    side_share = draw.uniform(0.5, 1.0) ** 0.5  # of the short side
    side = max(32, int(min(image.size) * side_share))
    side = min(side, *image.size)
    left, top = draw.randint(0, image.width - side), draw.randint(0, image.height - side)
    image = image.crop((left, top, left + side, top + side))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image


CROPPED_AND_RESAVED = Augmentation("view-1", crop_and_resave)


def _resave_at_random(image: Image.Image, draw: random.Random) -> Image.Image:
    """Scale to a short side of 224 to 512 pixels (never up), and save as JPEG or WebP up to twice."""
    short = min(image.size)
    side = draw.randint(min(224, short), min(512, short))
    image = resize_short(image, side, draw.choice(_FILTERS))
    for probability in (0.8, 0.3):
        if draw.random() < probability:
            image = _compress_randomly(image, draw)
    return image


def _compress_randomly(image: Image.Image, draw: random.Random) -> Image.Image:
    codec: Codec = "JPEG" if draw.random() < 0.75 else "WEBP"
    data = compress(image, codec, draw.randint(50, 97), draw.choice((0, 2, 2)))
    with Image.open(BytesIO(data)) as compressed:
        return compressed.convert("RGB")
