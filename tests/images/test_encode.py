from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from changeling.images.encode import WEB_QUALITY, WEB_SIDE, Codec, encode, web_form
from tests.hostile import picture, saved


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def telling() -> Image.Image:
    """An image that carries everything that a file can say of itself."""
    exif = Image.Exif()
    exif[0x010E] = "who made me"
    options = {"exif": exif, "icc_profile": b"profile" * 9, "comment": b"prompt: a cat", "dpi": (300, 300)}
    return opened(saved(picture((500, 400)), "JPEG", **options))


def segments(jpeg: bytes) -> list[str]:
    """The markers of a JPEG file up to its pixels."""
    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        found.append(f"{jpeg[at + 1]:X}")
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return found


@pytest.mark.parametrize(
    ("size", "shown"),
    [((500, 400), (480, 384)), ((400, 500), (384, 480)), ((384, 900), (384, 900)), ((100, 50), (100, 50))],
)
def test_web_form_is_a_plain_jpeg_of_at_most_384(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = picture(size)
    small = image.resize(shown, Image.Resampling.LANCZOS) if shown != size else image
    assert web_form(image) == saved(small, "JPEG", quality=86, subsampling="4:2:0")
    assert (WEB_SIDE, WEB_QUALITY) == (384, 86)


def test_web_form_gives_nothing_away() -> None:
    data = web_form(telling())
    assert set(segments(data)) == {"E0", "DB", "C0", "C4"}  # JFIF, tables, frame, codes: nothing else
    assert opened(data).info.keys() == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert opened(data).info["jfif_density"] == (1, 1)


@pytest.mark.parametrize(("codec", "quality"), [("JPEG", 50), ("JPEG", 95), ("WEBP", 50), ("WEBP", 90)])
def test_encode_drops_metadata_and_keeps_the_picture(codec: Codec, quality: int) -> None:
    image = telling()
    data = encode(image, codec, quality)
    result = opened(data)
    assert (result.format, result.size) == (codec, image.size)
    assert not {"exif", "icc_profile", "comment", "xmp", "dpi"} & result.info.keys()
    assert b"a cat" not in data
    error = np.abs(np.asarray(result.convert("RGB"), np.float64) - np.asarray(image, np.float64)).mean()
    assert error < 12


@pytest.mark.parametrize("codec", ["JPEG", "WEBP"])
def test_encode_is_the_same_twice_and_smaller_at_lower_quality(codec: Codec) -> None:
    image = picture((200, 150))
    assert encode(image, codec, 80) == encode(image, codec, 80)
    assert len(encode(image, codec, 40)) < len(encode(image, codec, 80)) < len(encode(image, codec, 95))


@pytest.mark.parametrize(("subsampling", "sampling"), [(0, "11"), (1, "21"), (2, "22")])
def test_subsampling_is_in_the_frame_header(subsampling: int, sampling: str) -> None:
    data = encode(picture(), "JPEG", 80, subsampling)
    at = data.index(b"\xff\xc0")
    assert f"{data[at + 11]:02X}" == sampling  # horizontal and vertical factor of the first component
