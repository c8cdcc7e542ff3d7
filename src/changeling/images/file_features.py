"""What can be told of an image file without looking at the picture, as a row of numbers for a classifier."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from changeling.images.decode import FORMATS, opened, read_bytes
from changeling.images.encoding import read_form

# the facts by group, in the order of the numbers; each is 0 where a file has no such thing
GROUPS: Mapping[str, tuple[str, ...]] = {
    "format": (*FORMATS, "bands", "palette"),
    "coding": ("progressive", "scans", "optimised Huffman tables", "restart interval", "lossless WebP"),
    "size": ("width", "height", "short side", "long side", "aspect", "multiple of 8", "multiple of 64"),
    "tables": ("tables", *(f"{plane} {place}" for plane in ("luma", "chroma") for place in range(64))),
    "subsampling": ("4:4:4", "4:2:2", "4:2:0", "other"),
    "bytes per pixel": ("log bytes per pixel",),
    "metadata": (
        *("EXIF", "log EXIF bytes", "orientation", "ICC profile", "log ICC bytes", "XMP", "comment", "JFIF"),
        *("density", "Adobe", "Photoshop", "segments", "texts", "gamma or primaries"),
    ),
}
FACTS = tuple(fact for facts in GROUPS.values() for fact in facts)
_PLACE = {fact: place for place, fact in enumerate(FACTS)}

_ORIENTATION = 0x0112  # the EXIF tag
_MARK = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # of a JPEG segment: neither stuffing, nor fill, nor a restart
_SOI, _EOI, _SOS, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xFE
_APP = range(0xE0, 0xF0)


def read_facts(path: str) -> NDArray[np.float32]:
    """The facts of the file at `path` (len(FACTS),), in the order of FACTS. Raises ImageError if it is no image."""
    data = read_bytes(path)
    with opened(data) as image:
        jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
        facts: dict[str, float] = {"JPEG" if jpeg else image.format or "": 1}  # an MPO is a JPEG with others behind
        facts |= _size(image, len(data)) | _metadata(image)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            facts |= _tables(image) | _coding(data)
        else:
            facts["progressive"] = bool(image.info.get("interlace"))
            facts["lossless WebP"] = image.format == "WEBP" and read_form(path).lossless
    row = np.zeros(len(FACTS), np.float32)
    for fact, value in facts.items():
        row[_PLACE[fact]] = value
    return row


def _size(image: Image.Image, size: int) -> dict[str, float]:
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
        "multiple of 64": width % 64 == height % 64 == 0,  # as generators like it
        "log bytes per pixel": float(np.log(size / (width * height))),
    }


def _metadata(image: Image.Image) -> dict[str, float]:
    """What the header says beside the picture; of a PNG, what stands before its pixels."""
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
    with suppress(Exception):  # broken EXIF turns nothing
        exif = Image.Image.getexif(image)  # the header's: a PNG's own method decodes the pixels to look behind them
        return float(min(max(int(exif.get(_ORIENTATION, 0)), 0), 9))
    return 0.0


def _density(value: object) -> float:
    """Dots an inch, or in the file's own unit."""
    with suppress(Exception):  # a fraction by zero
        return float(np.clip(float(value[0]), 0, 1e5))  # type: ignore[index]
    return 0.0


def _tables(image: JpegImagePlugin.JpegImageFile) -> dict[str, float]:
    tables = [table for _, table in sorted(image.quantization.items())]
    facts: dict[str, float] = {"tables": len(tables)}
    for plane, table in zip(("luma", "chroma"), tables, strict=False):
        facts |= {f"{plane} {place}": value for place, value in enumerate(table)}
    sampling = JpegImagePlugin.get_sampling(image)
    return facts | {GROUPS["subsampling"][sampling if sampling in (0, 1, 2) else 3]: 1}


def _coding(data: bytes) -> dict[str, float]:
    """How a JPEG's numbers are written."""
    facts = dict.fromkeys(("progressive", "scans", "optimised Huffman tables", "restart interval", "segments"), 0.0)
    for mark, content in _segments(data):
        if mark in (0xC2, 0xC6, 0xCA, 0xCE):
            facts["progressive"] = 1
        elif mark == _SOS:
            facts["scans"] += 1
        elif mark == _DHT and not _standard(content):
            facts["optimised Huffman tables"] = 1
        elif mark == _DRI:
            facts["restart interval"] = int.from_bytes(content[:2], "big")
        elif mark in _APP or mark == _COM:
            facts["segments"] += 1
    return facts


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A JPEG's marks with what stands under each, up to the end of its first image. Pixels are passed over."""
    place = 0
    while found := _MARK.search(data, place):
        mark, place = found[1][0], found.end()
        if mark == _EOI:
            return
        if mark != _SOI:
            length = int.from_bytes(data[place : place + 2], "big")
            yield mark, data[place + 2 : place + length]
            place += max(length, 2)


def _standard(content: bytes) -> bool:
    """Whether the Huffman tables of a segment are those that the JPEG standard gives as examples."""
    while len(content) > 17:
        length = 17 + sum(content[1:17])
        if content[:length] not in _standard_tables():
            return False
        content = content[length:]
    return True


@cache
def _standard_tables() -> frozenset[bytes]:
    """The four tables, as a file that is not optimised has them, one a segment."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", optimize=False)
    return frozenset(content for mark, content in _segments(buffer.getvalue()) if mark == _DHT)
