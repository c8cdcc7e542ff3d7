"""Read one untrusted image file: the pixels as a viewer would show them, or an ImageError that says why not."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from changeling.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
# by which images are found in folders; a file's own suffix decides nothing
_JPEG, _TIFF = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), (".tif", ".tiff")
_OTHERS = (".png", ".webp", ".avif", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2", ".j2k")
_UNREAD = (".heic", ".heif")  # found, so that a row says that they are not read
SUFFIXES = frozenset([*_JPEG, *_TIFF, *_OTHERS, *_UNREAD])
MAX_PIXELS = 89_478_485  # 89 million, Pillow's own line for what may be a decompression bomb
MAX_BYTES = 1 << 28  # a file is held in memory while it is decoded

_ORIENTATION = 0x0112  # the EXIF tag
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not what macOS leaves beside one (`._name`)."""
    stem, _, suffix = name.rpartition(".")
    return bool(stem) and f".{suffix.lower()}" in SUFFIXES and not name.startswith("._")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image.

    Attributes:
        image: RGB, upright, alpha laid on white; of an animation the first frame.
        width, height: of the file, upright, in pixels. `image` may be smaller: see `read_image`.
        format: Pillow's name of the file's format, e.g. "JPEG".
    """

    image: Image.Image
    width: int
    height: int
    format: str


def read_image(path: str | os.PathLike[str], *, short_side: int | None = None, sha256: str | None = None) -> Picture:
    """Decode the image at `path`.

    With `short_side`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT), as long as
    its short side stays at least `short_side`: ten times as fast on a phone's photograph.

    Raises:
        ImageError: with a one-word status and a sentence, whatever is wrong with the file; also if `sha256` is given
            and is another file's.
    """
    with opened(read_bytes(path, sha256)) as image:
        return _decode(image, short_side)


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be said of an image file without decoding its pixels; width and height are upright."""

    width: int
    height: int
    format: str
    sha256: str


def inspect_image(path: str | os.PathLike[str]) -> Facts:
    """Hash the file at `path` and read its header. Raises ImageError, but not for pixels that are broken."""
    data = read_bytes(path)
    with opened(data) as image:
        width, height = reversed(image.size) if _on_its_side(image) else image.size
        return Facts(width, height, image.format or "", hashlib.sha256(data).hexdigest())


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open image bytes; whatever fails here or in the caller's block becomes an ImageError."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("unsupported", _unidentified(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _oversized() from None
    except MemoryError:
        raise ImageError("oversized", "not enough memory to decode it") from None
    except Exception as error:  # decoders raise whatever they like on broken data
        raise _broken(error) from None


def read_bytes(path: str | os.PathLike[str], sha256: str | None = None) -> bytes:
    """Read the file, or say which kind of file it is not, or that it is another than the one with this hash."""
    if not os.fspath(path):  # pathlib would take it for the current folder
        raise ImageError("missing", "the path is empty")
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()  # a folder that cannot be listed is denied
            raise ImageError("folder", "is a folder, not an image")
        if not stat.S_ISREG(mode):
            raise ImageError("special", "is a pipe, socket or device, not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        dangling = os.path.lexists(path)
        raise ImageError("missing", "is a link to nowhere" if dangling else "no such file") from None
    except PermissionError:
        raise ImageError("denied", "permission denied") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError("missing", f"cannot be read: {reason}") from None
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise ImageError("oversized", f"the file has more than {MAX_BYTES >> 20} MiB")
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise ImageError("corrupt", "is another file than when it was imported or made")
    return data


def _decode(image: Image.Image, short_side: int | None) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _oversized()
    if short_side is not None and image.format in ("JPEG", "MPO"):
        # draft() keeps both sides at least as large as asked, and asks nothing of images that are small already
        shortest = min(width, height)
        if short_side < shortest:
            image.draft(None, (width * short_side // shortest, height * short_side // shortest))
    name = image.format or ""
    image.load()
    stored = image.size
    _turn_upright(image)
    if image.size != stored:
        width, height = height, width
    return Picture(_to_rgb(image), width, height, name)


def _on_its_side(image: Image.Image) -> bool:
    """Whether EXIF swaps width and height. Of a TIFF, Pillow gives the upright size from the start."""
    if image.format == "TIFF":
        return False
    try:
        exif = Image.Image.getexif(image)  # the header's: a PNG's own method decodes the pixels to look behind them
    except Exception:
        return False
    return exif.get(_ORIENTATION) in (5, 6, 7, 8)


def _turn_upright(image: Image.Image) -> None:
    """Turn the image as its EXIF says, in place; broken EXIF turns nothing, as in a viewer."""
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB: 16-bit is scaled, alpha is laid on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BIT:
        levels = np.rint(np.arange(1 << 16) / 257).astype(np.uint8)
        return Image.fromarray(levels[np.asarray(image)]).convert("RGB")
    if image.mode in ("I", "F"):
        grey = np.rint(_scaled(np.asarray(image, dtype=np.float32))).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


def _scaled(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring wide greys to [0, 255] by the range they use: up to 1, 255, 65,535 or their own largest value."""
    if not np.isfinite(grey).all():
        raise ImageError("unsupported", "has pixels that are infinite or not numbers")
    top = float(grey.max(initial=0.0))
    full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    return grey * np.float32(255.0 / full)


def _oversized() -> ImageError:
    return ImageError("oversized", f"more than {MAX_PIXELS / 1e6:.0f} million pixels; scale it down first")


def _unidentified(data: bytes) -> str:
    known = {b"%PDF": "a PDF", b"<svg": "an SVG drawing", b"<?xm": "an XML file", b"8BPS": "a Photoshop file"}
    kind = known.get(data[:4])
    if kind is None and data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        kind = "a HEIC image"
    said = f"is {kind}, which is not read" if kind else "is not an image that is read, or its header is broken"
    return f"{said}; convert it to PNG or JPEG"


def _broken(error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    ends_early = isinstance(error, EOFError) or "truncated" in reason.lower()
    return ImageError("truncated" if ends_early else "corrupt", f"cannot be decoded: {reason}")
