"""Read an untrusted image file once, and decode it to the pixels that a viewer shows."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from changeling.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
# Suffixes by which image files are found in folders. The format is detected from the bytes, not from the suffix.
# HEIC files are found as well, so that their rows say that the format is not supported.
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
OTHER_SUFFIXES = (".tif", ".tiff", ".png", ".webp", ".avif", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2", ".j2k")
UNSUPPORTED_SUFFIXES = (".heic", ".heif")
SUFFIXES = frozenset(JPEG_SUFFIXES + OTHER_SUFFIXES + UNSUPPORTED_SUFFIXES)
MAX_PIXELS = 89_478_485  # Pillow's default limit for decompression bombs
MAX_BYTES = 1 << 28  # a file is held in memory while it is decoded

_ORIENTATION = 0x0112  # the EXIF tag
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image, and is not a macOS resource fork (`._name`)."""
    stem, _, suffix = name.rpartition(".")
    return bool(stem) and f".{suffix.lower()}" in SUFFIXES and not name.startswith("._")


@dataclass(frozen=True)
class ImageFile:
    """The bytes of an image file, read once: the bytes that are hashed are the bytes that are decoded.

    Attributes:
        path: where the file was read from.
        data: its content.
    """

    path: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, as 64 hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        image: RGB, upright, transparency composited on white; the first frame of an animation.
        width, height: of the file, upright, in pixels. `image` may be smaller: see `decode_image`.
        format: Pillow's name of the file format, such as "JPEG".
    """

    image: Image.Image
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of an image file says; width and height are upright, in pixels."""

    width: int
    height: int
    format: str


def read_file(path: str | os.PathLike[str], sha256: str | None = None) -> ImageFile:
    """Read a file of at most `MAX_BYTES` bytes.

    Raises:
        ImageError: the path is not a regular file, cannot be read, is empty or too large; or `sha256` is given and
            the content has another hash.
    """
    file = ImageFile(os.fspath(path), _read_bytes(path))
    if sha256 and file.sha256 != sha256:
        raise ImageError("corrupt", "is another file than when it was imported or made")
    return file


def decode_image(file: ImageFile, *, short_side: int | None = None) -> DecodedImage:
    """Decode an image file.

    With `short_side`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT), as long as
    its short side stays at least `short_side` pixels: ten times as fast on a photograph of a phone.

    Raises:
        ImageError: the file cannot be decoded; `status` says why in one word.
    """
    with open_image(file) as image:
        return _decode(image, short_side)


def read_image(
    path: str | os.PathLike[str], *, short_side: int | None = None, sha256: str | None = None
) -> DecodedImage:
    """Read and decode the image at `path`: `read_file`, then `decode_image`. Raises ImageError."""
    return decode_image(read_file(path, sha256), short_side=short_side)


def inspect_image(file: ImageFile) -> ImageInfo:
    """Read the header of an image file. Broken pixels are not noticed. Raises ImageError."""
    with open_image(file) as image:
        width, height = reversed(image.size) if _is_rotated(image) else image.size
        return ImageInfo(width, height, image.format or "")


@contextmanager
def open_image(file: ImageFile) -> Iterator[Image.Image]:
    """Open an image file with Pillow; any exception here or in the caller's block becomes an ImageError."""
    try:
        with Image.open(BytesIO(file.data), formats=FORMATS) as image:
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("unsupported", _describe_unknown_format(file.data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _oversized_error() from None
    except MemoryError:
        raise ImageError("oversized", "not enough memory to decode it") from None
    except Exception as error:  # decoders raise all kinds of exceptions on broken data
        raise _decoding_error(error) from None


def check_size(data: bytes) -> None:
    """Raise ImageError if a file with this content is empty or has more than `MAX_BYTES` bytes."""
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise ImageError("oversized", f"the file has more than {MAX_BYTES >> 20} MiB")


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    if not os.fspath(path):  # pathlib reads it as the current folder
        raise ImageError("missing", "the path is empty")
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()  # raises PermissionError if the folder cannot be listed
            raise ImageError("folder", "is a folder, not an image")
        if not stat.S_ISREG(mode):
            raise ImageError("special", "is a pipe, socket or device, not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        broken_link = os.path.lexists(path)
        raise ImageError("missing", "is a broken link" if broken_link else "no such file") from None
    except PermissionError:
        raise ImageError("denied", "permission denied") from None
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError("missing", f"cannot be read: {reason}") from None
    check_size(data)
    return data


def _decode(image: Image.Image, short_side: int | None) -> DecodedImage:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _oversized_error()
    if short_side is not None and image.format in ("JPEG", "MPO"):
        # draft() keeps both sides at least as large as requested
        shortest = min(width, height)
        if short_side < shortest:
            image.draft(None, (width * short_side // shortest, height * short_side // shortest))
    image_format = image.format or ""
    image.load()
    stored_size = image.size
    _rotate_upright(image)
    if image.size != stored_size:
        width, height = height, width
    return DecodedImage(_to_rgb(image), width, height, image_format)


def _is_rotated(image: Image.Image) -> bool:
    """Whether the EXIF orientation swaps width and height. Pillow reports the upright size of a TIFF itself."""
    if image.format == "TIFF":
        return False
    try:
        exif = Image.Image.getexif(image)  # a PNG's own getexif() would decode the pixels
    except Exception:
        return False
    return exif.get(_ORIENTATION) in (5, 6, 7, 8)


def _rotate_upright(image: Image.Image) -> None:
    """Apply the EXIF orientation in place; broken EXIF data is ignored, as viewers do."""
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB: 16-bit values are scaled, transparency is composited on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BIT:
        levels = np.rint(np.arange(1 << 16) / 257).astype(np.uint8)
        return Image.fromarray(levels[np.asarray(image)]).convert("RGB")
    if image.mode in ("I", "F"):
        grey = np.rint(_scale_to_8_bit(np.asarray(image, dtype=np.float32))).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


def _scale_to_8_bit(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale grey values to [0, 255] by the range they use: up to 1, 255, 65,535 or their maximum."""
    if not np.isfinite(grey).all():
        raise ImageError("unsupported", "has pixels that are infinite or NaN")
    maximum = float(grey.max(initial=0.0))
    full_scale = next((limit for limit in (1.0, 255.0, 65535.0) if maximum <= limit), maximum)
    return grey * np.float32(255.0 / full_scale)


def _oversized_error() -> ImageError:
    return ImageError("oversized", f"more than {MAX_PIXELS / 1e6:.0f} million pixels; scale it down first")


def _describe_unknown_format(data: bytes) -> str:
    names = {b"%PDF": "a PDF", b"<svg": "an SVG drawing", b"<?xm": "an XML file", b"8BPS": "a Photoshop file"}
    name = names.get(data[:4])
    if name is None and data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        name = "a HEIC image"
    if name is None:
        return "is not an image of a supported format, or its header is broken; save it as PNG or JPEG if it is one"
    return f"is {name}, which is not supported; convert it to PNG or JPEG"


def _decoding_error(error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, EOFError) or "truncated" in reason.lower():
        return ImageError(
            "truncated", "cannot be decoded: the end of the file is missing; get it again from its source"
        )
    return ImageError("corrupt", f"cannot be decoded: {reason}")
