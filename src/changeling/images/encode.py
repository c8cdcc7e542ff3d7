"""Encode images: in the encoding of another file, or as a web page would deliver them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, JpegImagePlugin
from PIL import ImageFile as PillowImageFile

from changeling.errors import ImageError
from changeling.images.decode import ImageFile, open_image
from changeling.images.transforms import resize_short

EncodedFormat = Literal["JPEG", "PNG", "WEBP"]
Codec = Literal["JPEG", "WEBP"]
FORMAT_SUFFIXES: dict[EncodedFormat, str] = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
MAX_JPEG_SIDE = 65500  # pixels, the limit of libjpeg
MAX_SIDES: dict[Codec, int] = {"JPEG": MAX_JPEG_SIDE, "WEBP": 16383}
WEBP_QUALITY = 80  # the default of cwebp: a WebP file does not record its quality
WEB_SIDE, WEB_QUALITY = 384, 86


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the pixels of an image file are encoded.

    Attributes:
        format: of the file. Files of other formats count as PNG.
        tables: JPEG's quantisation tables, 64 numbers each: luma, then chroma.
        subsampling: of JPEG's chroma, in Pillow's numbers: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
        progressive: whether a JPEG is progressive.
        lossless: whether a WebP is lossless.
    """

    format: EncodedFormat
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = 2
    progressive: bool = False
    lossless: bool = False


PNG_ENCODING = Encoding("PNG")


def read_encoding(file: ImageFile) -> Encoding:
    """Read how an image file is encoded. Raises ImageError if it is not an image."""
    with open_image(file) as image:
        return _read_encoding(image, file.data)


def jpeg_encoding(quality: int, subsampling: int = 2) -> Encoding:
    """The JPEG encoding with libjpeg's quantisation tables for `quality` (1 to 100)."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(buffer) as image:
        return _read_encoding(image, buffer.getvalue())


def encode_image(image: Image.Image, encoding: Encoding) -> bytes:
    """Encode an RGB image without metadata. The same image and encoding give the same bytes.

    Raises:
        ImageError: a side is too long for JPEG.
    """
    if encoding.format == "JPEG" and max(image.size) > MAX_JPEG_SIDE:
        raise ImageError("oversized", f"{image.width} x {image.height} pixels are too many for {encoding.format}")
    buffer = BytesIO()
    pixels_only = Image.frombytes("RGB", image.size, image.tobytes())
    match encoding.format:
        case "JPEG":
            tables = [list(table) for table in encoding.tables]
            # Pillow reserves 2 bytes a pixel, which fine tables without subsampling exceed
            needed = 0 if encoding.subsampling == 2 else 6 * image.width * image.height
            PillowImageFile.MAXBLOCK = max(PillowImageFile.MAXBLOCK, needed)
            pixels_only.save(
                buffer,
                "JPEG",
                qtables=tables,
                subsampling=encoding.subsampling,
                progressive=encoding.progressive,
                optimize=True,
            )
        case "WEBP":
            pixels_only.save(buffer, "WEBP", quality=WEBP_QUALITY, lossless=encoding.lossless)
        case "PNG":
            pixels_only.save(buffer, "PNG")
    return buffer.getvalue()


def encode_for_web(image: Image.Image) -> bytes:
    """RGB image -> JPEG bytes as a web page delivers it: short side at most 384, quality 86, 4:2:0, no metadata."""
    small = resize_short(image, WEB_SIDE, Image.Resampling.LANCZOS) if min(image.size) > WEB_SIDE else image
    return compress(small, "JPEG", WEB_QUALITY)


def compress(image: Image.Image, codec: Codec, quality: int, subsampling: int = 2) -> bytes:
    """RGB image -> bytes without metadata. `subsampling` is Pillow's (0 is 4:4:4, 2 is 4:2:0), used for JPEG only."""
    buffer = BytesIO()
    if codec == "JPEG":
        # an empty comment, because Pillow copies the comment of the file that the image was read from
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling, comment=b"")
    else:
        image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def recompress(image: Image.Image, codec: Codec, quality: int, subsampling: int = 2) -> Image.Image:
    """Compress an RGB image and decode it again. Arguments as for `compress`.

    Raises:
        ImageError: a side is too long for the codec.
    """
    if max(image.size) > MAX_SIDES[codec]:
        raise ImageError("oversized", f"{image.width} x {image.height} pixels are too many for {codec}")
    return _decode_rgb(compress(image, codec, quality, subsampling))


def reencode_for_web(image: Image.Image) -> Image.Image:
    """RGB image -> the RGB image that is decoded from `encode_for_web`: the same for real and generated images."""
    return _decode_rgb(encode_for_web(image))


def _decode_rgb(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB")


def _read_encoding(image: Image.Image, data: bytes) -> Encoding:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        subsampling = JpegImagePlugin.get_sampling(image)
        return Encoding(
            "JPEG",
            tuple(tuple(table) for _, table in sorted(image.quantization.items())),
            subsampling if subsampling in (0, 1, 2) else 2,  # greyscale and rare layouts get the most common one
            bool(image.info.get("progressive")),
        )
    return Encoding("WEBP", lossless=_is_lossless(data)) if image.format == "WEBP" else PNG_ENCODING


def _is_lossless(webp: bytes) -> bool:
    """Whether the pixels of a WebP file, or of its first frame, are lossless; metadata chunks may precede them."""
    offset = 12
    while (chunk := webp[offset : offset + 4]) not in (b"VP8L", b"VP8 ", b""):
        size = int.from_bytes(webp[offset + 4 : offset + 8], "little")
        offset += 24 if chunk == b"ANMF" else 8 + size + size % 2  # a frame contains chunks
    return chunk == b"VP8L"
