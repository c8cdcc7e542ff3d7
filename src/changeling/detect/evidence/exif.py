"""EXIF data of an image that Pillow has opened, and the text fields of a PNG."""

from __future__ import annotations

from PIL import ExifTags, Image

from changeling.images.decode import MAX_PIXELS

_LATE_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")


def read_exif(image: Image.Image) -> dict[str, object]:
    """Return the EXIF fields of an image by name, the camera's included; without GPS positions and thumbnails.

    Whatever Pillow raises on broken data is raised.
    """
    exif = Image.Image.getexif(image)  # a PNG's own getexif() would decode the pixels
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    return {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in (*exif.items(), *camera.items())}


def read_png_texts(image: Image.Image) -> dict[str, str]:
    """Return the text fields of a PNG by keyword. Bytes after the end of the image are no part of it."""
    if image.format != "PNG":
        return {}
    return {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}


def load_late_chunks(image: Image.Image, data: bytes) -> None:
    """Read the metadata that stands behind the pixels of a PNG, for which Pillow decodes them.

    A PNG without such metadata is not decoded.
    """
    width, height = image.size
    if image.format == "PNG" and width * height <= MAX_PIXELS:
        pixels = image.tile[0].offset if image.tile else 0  # type: ignore[attr-defined]
        if any(data.find(name, pixels) >= 0 for name in _LATE_CHUNKS):
            image.load()
