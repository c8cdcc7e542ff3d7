"""Other ways the same picture might have reached us: resized, re-saved, cropped, mirrored."""

from __future__ import annotations

import random
from io import BytesIO

from PIL import Image

from changeling.images.encode import Codec, encode
from changeling.images.transforms import resize_short

_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BOX)


def draw_view(image: Image.Image, key: str) -> Image.Image:
    """Draw a view of an RGB image; the same `key` draws the same.

    Sizes, codecs, qualities and crops come from one distribution, whatever the image is: drawn alike for real
    and fake, they cannot tell the two apart.
    """
    draw = random.Random(key)  # noqa: S311 (a seed, not a secret)
    image = resave(image, draw)
    side = draw.uniform(0.5, 1.0) ** 0.5  # of the short side, so that half to all of the area is kept
    crop = max(32, int(min(image.size) * side))
    crop = min(crop, *image.size)
    left, top = draw.randint(0, image.width - crop), draw.randint(0, image.height - crop)
    image = image.crop((left, top, left + crop, top + crop))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image


def draw_resave(image: Image.Image, key: str) -> Image.Image:
    """Draw a copy as a messenger or a web page might make it: the whole picture, smaller and saved again."""
    return resave(image, random.Random(key))  # noqa: S311


def resave(image: Image.Image, draw: random.Random) -> Image.Image:
    """Scale to a short side of 224 to 512 pixels (never up), and save as JPEG or WebP once or twice."""
    short = min(image.size)
    side = draw.randint(min(224, short), min(512, short))
    image = resize_short(image, side, draw.choice(_FILTERS))
    for chance in (0.8, 0.3):
        if draw.random() < chance:
            image = _saved(image, draw)
    return image


def _saved(image: Image.Image, draw: random.Random) -> Image.Image:
    codec: Codec = "JPEG" if draw.random() < 0.75 else "WEBP"
    data = encode(image, codec, draw.randint(50, 97), draw.choice((0, 2, 2)))
    with Image.open(BytesIO(data)) as saved:
        return saved.convert("RGB")
