"""The form of an image file: what can be told from it without looking at the picture, and how to give it to another."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageFile, JpegImagePlugin

from changeling.errors import ImageError
from changeling.images.decode import opened, read_bytes
from changeling.images.transforms import centre_crop

Kind = Literal["JPEG", "PNG", "WEBP"]
SUFFIXES: dict[Kind, str] = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
LONGEST_JPEG = 65500  # pixels of a side, for libjpeg
WEBP_QUALITY = 80  # cwebp's default: a WebP file does not say which was used


@dataclass(frozen=True, slots=True)
class Form:
    """How an image is written.

    Attributes:
        kind: the file's format; what is none of the three is written as PNG.
        tables: of JPEG, the quantisation tables, 64 numbers each: luma, then chroma.
        subsampling: of JPEG's chroma, as Pillow counts: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
        progressive: of JPEG.
        lossless: of WebP.
    """

    kind: Kind
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = 2
    progressive: bool = False
    lossless: bool = False


PLAIN = Form("PNG")


def read_form(path: str) -> Form:
    """Read the form of the file at `path`. Raises ImageError if it is not an image."""
    data = read_bytes(path)
    with opened(data) as image:
        return _form(image, data)


def jpeg_form(quality: int, subsampling: int = 2) -> Form:
    """The form that libjpeg's tables for this quality give (1 to 100)."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(buffer) as image:
        return _form(image, buffer.getvalue())


def write(image: Image.Image, form: Form) -> bytes:
    """RGB image -> the bytes of a file in this form, without metadata. The same image gives the same bytes.

    Raises:
        ImageError: a JPEG has no room for so long a side.
    """
    if form.kind == "JPEG" and max(image.size) > LONGEST_JPEG:
        raise ImageError("oversized", f"{image.width} x {image.height} pixels are too many for {form.kind}")
    buffer = BytesIO()
    bare = Image.frombytes("RGB", image.size, image.tobytes())  # nothing but its pixels
    match form.kind:
        case "JPEG":
            tables = [list(table) for table in form.tables]
            # Pillow keeps 2 bytes a pixel for a file, and fails where fine tables without subsampling take more
            ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 0 if form.subsampling == 2 else 6 * image.width * image.height)
            bare.save(
                buffer,
                "JPEG",
                qtables=tables,
                subsampling=form.subsampling,
                progressive=form.progressive,
                optimize=True,
            )
        case "WEBP":
            bare.save(buffer, "WEBP", quality=WEBP_QUALITY, lossless=form.lossless)
        case "PNG":
            bare.save(buffer, "PNG")
    return buffer.getvalue()


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut out the middle square and scale it to `side` x `side`."""
    short = min(image.size)
    return centre_crop(image, short).resize((side, side), Image.Resampling.LANCZOS)


def _form(image: Image.Image, data: bytes) -> Form:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        return Form(
            "JPEG",
            tuple(tuple(table) for _, table in sorted(image.quantization.items())),
            sampling if sampling in (0, 1, 2) else 2,  # of grey ones, and of rare ones, what is usual
            bool(image.info.get("progressive")),
        )
    return Form("WEBP", lossless=_lossless(data)) if image.format == "WEBP" else PLAIN


def _lossless(webp: bytes) -> bool:
    """Whether the pixels of a WebP, or of its first frame, are lossless; metadata may lie before them."""
    at = 12
    while (kind := webp[at : at + 4]) not in (b"VP8L", b"VP8 ", b""):
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        at += 24 if kind == b"ANMF" else 8 + size + size % 2  # a frame holds chunks of its own
    return kind == b"VP8L"
