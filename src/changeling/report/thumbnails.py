"""A picture, from a file that nobody vouches for, as a small data URI; or the reason why there is none."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from changeling.errors import ImageError
from changeling.images.decode import read_image

HEIGHT = 160  # CSS pixels; the file has twice as many, for sharp screens
WIDEST = 400  # CSS pixels: a panorama is shown less high
QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image as a data URI with its size in CSS pixels, or, where `uri` is empty, why there is none."""

    uri: str = ""
    width: int = HEIGHT
    height: int = HEIGHT
    missing: str = ""

    @property
    def ratio(self) -> float:
        """The width for a height of one, of the box that the image is fitted into."""
        return round(min(self.width / self.height, WIDEST / HEIGHT), 4)


def make_thumbnail(path: Path) -> Thumbnail:
    """Shrink the image at `path`. Never raises for what the file is: a broken one gives an empty thumbnail."""
    try:
        image = read_image(path, short_side=2 * HEIGHT).image
        image.thumbnail((2 * WIDEST, 2 * HEIGHT), Image.Resampling.LANCZOS)
        data = BytesIO()
        image.save(data, "WEBP", quality=QUALITY, icc_profile=b"", exif=b"")
    except ImageError as error:
        return Thumbnail(missing=str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Thumbnail(missing=f"cannot be shown: {type(error).__name__}")
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return Thumbnail(uri, max(1, round(image.width / 2)), max(1, round(image.height / 2)))
