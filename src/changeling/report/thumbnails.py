"""Thumbnails of image files from any source as data URIs, or the error of a file that cannot be shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from changeling.errors import ImageError
from changeling.images.decode import read_image

HEIGHT = 160  # CSS pixels; the file has twice as many, for sharp screens
MAX_WIDTH = 400  # CSS pixels; a panorama is less high than HEIGHT
QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image as a data URI, with its size in CSS pixels; if `uri` is empty, `missing` has the error."""

    uri: str = ""
    width: int = HEIGHT
    height: int = HEIGHT
    missing: str = ""

    @property
    def ratio(self) -> float:
        """The width of the image's box in units of HEIGHT."""
        return round(min(self.width / self.height, MAX_WIDTH / HEIGHT), 4)


def make_thumbnail(path: Path) -> Thumbnail:
    """Return a thumbnail of the image at `path`. A file that cannot be read gives an empty one, and no exception."""
    try:
        image = read_image(path, short_side=2 * HEIGHT).image
        image.thumbnail((2 * MAX_WIDTH, 2 * HEIGHT), Image.Resampling.LANCZOS)
        data = BytesIO()
        image.save(data, "WEBP", quality=QUALITY, icc_profile=b"", exif=b"")
    except ImageError as error:
        return Thumbnail(missing=str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Thumbnail(missing=f"cannot be shown: {type(error).__name__}")
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return Thumbnail(uri, max(1, round(image.width / 2)), max(1, round(image.height / 2)))
