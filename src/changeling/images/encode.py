"""Write images so that the file gives nothing away: one form for both classes."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

from PIL import Image

from changeling.images.transforms import resize_short

Codec = Literal["JPEG", "WEBP"]
WEB_SIDE, WEB_QUALITY = 384, 86


def web_form(image: Image.Image) -> bytes:
    """RGB image -> JPEG bytes as a web page would show it: short side at most 384, quality 86, 4:2:0, no metadata."""
    small = resize_short(image, WEB_SIDE, Image.Resampling.LANCZOS) if min(image.size) > WEB_SIDE else image
    return encode(small, "JPEG", WEB_QUALITY)


def encode(image: Image.Image, codec: Codec, quality: int, subsampling: int = 2) -> bytes:
    """RGB image -> bytes without metadata. `subsampling` is Pillow's (0 is 4:4:4, 2 is 4:2:0), for JPEG alone."""
    buffer = BytesIO()
    if codec == "JPEG":
        # a comment would otherwise be taken over from the file that the image came from
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling, comment=b"")
    else:
        image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()
