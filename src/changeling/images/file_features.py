"""Features of an image file that do not depend on its pixels, as numbers for a classifier (see `confounds`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from changeling.images.decode import FORMATS, ImageFile, open_image
from changeling.images.encode import read_encoding

# The file features by group, in the order of the numbers; a feature that a file lacks is 0.
FILE_FEATURE_GROUPS: Mapping[str, tuple[str, ...]] = {
    "format": (*FORMATS, "bands", "palette"),
    "coding": ("progressive", "scans", "optimised Huffman tables", "restart interval", "lossless WebP"),
    "size": ("width", "height", "short side", "long side", "aspect", "multiple of 8", "multiple of 64"),
    "tables": ("tables", *(f"{plane} {place}" for plane in ("luma", "chroma") for place in range(64))),
    "subsampling": ("4:4:4", "4:2:2", "4:2:0", "other"),
    "bytes per pixel": ("log bytes per pixel",),
    "metadata": (
        "EXIF",
        "log EXIF bytes",
        "orientation",
        "ICC profile",
        "log ICC bytes",
        "XMP",
        "comment",
        "JFIF",
        "density",
        "Adobe",
        "Photoshop",
        "segments",
        "texts",
        "gamma or primaries",
    ),
}
FILE_FEATURES = tuple(name for names in FILE_FEATURE_GROUPS.values() for name in names)
_COLUMN = {name: column for column, name in enumerate(FILE_FEATURES)}

_ORIENTATION = 0x0112  # the EXIF tag
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # of a JPEG segment: no stuffing, fill or restart marker
_SOI, _EOI, _SOS, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xFE
_APP = range(0xE0, 0xF0)


def read_file_features(file: ImageFile) -> NDArray[np.float32]:
    """The features of an image file (len(FILE_FEATURES),), in that order. Raises ImageError if it is not an image."""
    with open_image(file) as image:
        features = _size_features(image, len(file.data)) | _metadata_features(image)
        if isinstance(image, JpegImagePlugin.JpegImageFile):  # or an MPO, a JPEG followed by further images
            features |= {"JPEG": 1} | _table_features(image) | _coding_features(file.data)
        else:
            features[image.format or ""] = 1
            features["progressive"] = bool(image.info.get("interlace"))
            features["lossless WebP"] = image.format == "WEBP" and read_encoding(file).lossless
    row = np.zeros(len(FILE_FEATURES), np.float32)
    for name, value in features.items():
        row[_COLUMN[name]] = value
    return row


def _size_features(image: Image.Image, size: int) -> dict[str, float]:
    width, height = image.size
    return {
        "bands": len(image.getbands()),
        "palette": image.mode == "P",
        "width": width,
        "height": height,
        "short side": min(width, height),
        "long side": max(width, height),
        "aspect": width / height,
        "multiple of 8": width % 8 == height % 8 == 0,
        "multiple of 64": width % 64 == height % 64 == 0,  # a typical output size of generators
        "log bytes per pixel": float(np.log(size / (width * height))),
    }


def _metadata_features(image: Image.Image) -> dict[str, float]:
    """Which metadata the header has; of a PNG, the chunks before the pixels."""
    info = image.info
    exif, profile = (len(info.get(name) or b"") for name in ("exif", "icc_profile"))
    return {
        "EXIF": exif > 0,
        "log EXIF bytes": float(np.log1p(exif)),
        "orientation": _orientation(image),
        "ICC profile": profile > 0,
        "log ICC bytes": float(np.log1p(profile)),
        "XMP": "xmp" in info,
        "comment": bool(info.get("comment")),
        "JFIF": "jfif" in info,
        "density": _density(info.get("jfif_density") or info.get("dpi")),
        "Adobe": "adobe" in info,
        "Photoshop": "photoshop" in info,
        "texts": sum(isinstance(value, str) for value in info.values()) if image.format == "PNG" else 0,
        "gamma or primaries": bool({"gamma", "srgb", "chromaticity"} & set(info)),
    }


def _orientation(image: Image.Image) -> float:
    with suppress(Exception):  # broken EXIF data
        exif = Image.Image.getexif(image)  # a PNG's own getexif() would decode the pixels
        return float(min(max(int(exif.get(_ORIENTATION, 0)), 0), 9))
    return 0.0


def _density(value: object) -> float:
    """Dots per inch, or per unit of the file."""
    with suppress(Exception):  # a fraction with denominator zero
        return float(np.clip(float(value[0]), 0, 1e5))  # type: ignore[index]
    return 0.0


def _table_features(image: JpegImagePlugin.JpegImageFile) -> dict[str, float]:
    tables = [table for _, table in sorted(image.quantization.items())]
    features: dict[str, float] = {"tables": len(tables)}
    for plane, table in zip(("luma", "chroma"), tables, strict=False):
        features |= {f"{plane} {index}": value for index, value in enumerate(table)}
    subsampling = JpegImagePlugin.get_sampling(image)
    return features | {FILE_FEATURE_GROUPS["subsampling"][subsampling if subsampling in (0, 1, 2) else 3]: 1}


def _coding_features(data: bytes) -> dict[str, float]:
    """How the coefficients of a JPEG are coded."""
    features = dict.fromkeys(("progressive", "scans", "optimised Huffman tables", "restart interval", "segments"), 0.0)
    for marker, content in _segments(data):
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):
            features["progressive"] = 1
        elif marker == _SOS:
            features["scans"] += 1
        elif marker == _DHT and not _has_standard_tables(content):
            features["optimised Huffman tables"] = 1
        elif marker == _DRI:
            features["restart interval"] = int.from_bytes(content[:2], "big")
        elif marker in _APP or marker == _COM:
            features["segments"] += 1
    return features


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG with the content of each segment, up to the end of its first image."""
    offset = 0
    while match := _MARKER.search(data, offset):
        marker, offset = match[1][0], match.end()
        if marker == _EOI:
            return
        if marker != _SOI:
            length = int.from_bytes(data[offset : offset + 2], "big")
            yield marker, data[offset + 2 : offset + length]
            offset += max(length, 2)


def _has_standard_tables(content: bytes) -> bool:
    """Whether the Huffman tables of a segment are the examples of the JPEG standard."""
    while len(content) > 17:
        length = 17 + sum(content[1:17])
        if content[:length] not in _standard_tables():
            return False
        content = content[length:]
    return True


@cache
def _standard_tables() -> frozenset[bytes]:
    """The four standard tables, as segments of a file that is not optimised."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", optimize=False)
    return frozenset(content for marker, content in _segments(buffer.getvalue()) if marker == _DHT)
