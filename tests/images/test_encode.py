"""Encodings: read from a file, applied to another image; and images for the web."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from changeling.errors import ImageError
from changeling.images.decode import read_file
from changeling.images.encode import (
    FORMAT_SUFFIXES,
    PNG_ENCODING,
    WEB_QUALITY,
    WEB_SIDE,
    Codec,
    Encoding,
    compress,
    encode_for_web,
    encode_image,
    jpeg_encoding,
    read_encoding,
)
from tests.hostile import picture, saved


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def image_with_metadata() -> Image.Image:
    """An image with every kind of metadata."""
    exif = Image.Exif()
    exif[0x010E] = "who made me"
    options = {"exif": exif, "icc_profile": b"profile" * 9, "comment": b"prompt: a cat", "dpi": (300, 300)}
    return opened(saved(picture((500, 400)), "JPEG", **options))


def segments(jpeg: bytes) -> list[str]:
    """The markers of a JPEG file up to its pixels."""
    markers, offset = [], 2
    while jpeg[offset + 1] != 0xDA:
        markers.append(f"{jpeg[offset + 1]:X}")
        offset += 2 + int.from_bytes(jpeg[offset + 2 : offset + 4], "big")
    return markers


@pytest.mark.parametrize(
    ("size", "shown"),
    [((500, 400), (480, 384)), ((400, 500), (384, 480)), ((384, 900), (384, 900)), ((100, 50), (100, 50))],
)
def test_an_image_for_the_web_is_a_plain_jpeg_of_at_most_384_pixels(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = picture(size)
    small = image.resize(shown, Image.Resampling.LANCZOS) if shown != size else image
    assert encode_for_web(image) == saved(small, "JPEG", quality=86, subsampling="4:2:0")
    assert (WEB_SIDE, WEB_QUALITY) == (384, 86)


def test_an_image_for_the_web_has_no_metadata() -> None:
    data = encode_for_web(image_with_metadata())
    assert set(segments(data)) == {"E0", "DB", "C0", "C4"}  # JFIF, tables, frame, codes: nothing else
    assert opened(data).info.keys() == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert opened(data).info["jfif_density"] == (1, 1)


@pytest.mark.parametrize(("codec", "quality"), [("JPEG", 50), ("JPEG", 95), ("WEBP", 50), ("WEBP", 90)])
def test_compressing_drops_metadata_and_keeps_the_picture(codec: Codec, quality: int) -> None:
    image = image_with_metadata()
    data = compress(image, codec, quality)
    result = opened(data)
    assert (result.format, result.size) == (codec, image.size)
    assert not {"exif", "icc_profile", "comment", "xmp", "dpi"} & result.info.keys()
    assert b"a cat" not in data
    error = np.abs(np.asarray(result.convert("RGB"), np.float64) - np.asarray(image, np.float64)).mean()
    assert error < 12


@pytest.mark.parametrize("codec", ["JPEG", "WEBP"])
def test_compressing_is_deterministic_and_smaller_at_lower_quality(codec: Codec) -> None:
    image = picture((200, 150))
    assert compress(image, codec, 80) == compress(image, codec, 80)
    assert len(compress(image, codec, 40)) < len(compress(image, codec, 80)) < len(compress(image, codec, 95))


@pytest.mark.parametrize(("subsampling", "sampling"), [(0, "11"), (1, "21"), (2, "22")])
def test_subsampling_is_in_the_frame_header(subsampling: int, sampling: str) -> None:
    data = compress(picture(), "JPEG", 80, subsampling)
    at = data.index(b"\xff\xc0")
    assert f"{data[at + 11]:02X}" == sampling  # horizontal and vertical factor of the first component


encodings = st.builds(jpeg_encoding, st.integers(1, 100), st.integers(0, 2)).flatmap(
    lambda encoding: st.sampled_from([encoding, replace(encoding, progressive=True)])
)
OWN_TABLES = Encoding("JPEG", (tuple(range(1, 65)), tuple(range(65, 1, -1)), tuple([300] * 64)), 1)


def encoding_of(data: bytes, folder: Path) -> Encoding:
    (folder / "image").write_bytes(data)
    return read_encoding(read_file(folder / "image"))


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoding")


@given(
    encoding=encodings | st.sampled_from([PNG_ENCODING, Encoding("WEBP"), Encoding("WEBP", lossless=True), OWN_TABLES])
)
def test_an_encoded_image_has_the_encoding_that_was_asked_for(encoding: Encoding, folder: Path) -> None:
    data = encode_image(picture((40, 24)), encoding)
    assert encoding_of(data, folder) == encoding
    assert encode_image(picture((40, 24)), encoding) == data


@pytest.mark.parametrize(
    ("format", "options", "encoding"),
    [
        ("JPEG", {"quality": 75}, jpeg_encoding(75)),
        (
            "JPEG",
            {"quality": 30, "subsampling": 0, "progressive": True},
            Encoding("JPEG", jpeg_encoding(30).tables, 0, True),
        ),
        ("MPO", {"quality": 75, "save_all": True, "append_images": [picture()]}, jpeg_encoding(75)),
        ("PNG", {}, PNG_ENCODING),
        ("WEBP", {"quality": 30}, Encoding("WEBP")),
        ("WEBP", {"lossless": True}, Encoding("WEBP", lossless=True)),
        ("WEBP", {"lossless": True, "icc_profile": b"VP8 " * 99}, Encoding("WEBP", lossless=True)),
        ("WEBP", {"quality": 30, "icc_profile": b"VP8L" * 99}, Encoding("WEBP")),
        (
            "WEBP",
            {"lossless": True, "save_all": True, "append_images": [picture(seed=1)]},
            Encoding("WEBP", lossless=True),
        ),
        ("WEBP", {"quality": 30, "save_all": True, "append_images": [picture(seed=1)]}, Encoding("WEBP")),
        ("GIF", {}, PNG_ENCODING),
        ("BMP", {}, PNG_ENCODING),
        ("TIFF", {"compression": "jpeg"}, PNG_ENCODING),
    ],
)
def test_the_encoding_is_read_from_the_header(
    format: str, options: dict[str, object], encoding: Encoding, tmp_path: Path
) -> None:
    assert encoding_of(saved(picture(), format, **options), tmp_path) == encoding


def test_a_lossy_webp_with_transparency_is_lossy(tmp_path: Path) -> None:
    ghost = picture().convert("RGBA")
    ghost.putalpha(picture(seed=1).convert("L"))
    assert encoding_of(saved(ghost, "WEBP", quality=50), tmp_path) == Encoding("WEBP")


def test_greyscale_images_have_one_table_and_the_most_common_subsampling(tmp_path: Path) -> None:
    encoding = encoding_of(saved(picture().convert("L"), "JPEG", quality=80), tmp_path)
    assert encoding == Encoding("JPEG", jpeg_encoding(80).tables[:1], 2)
    assert encoding_of(encode_image(picture(), encoding), tmp_path) == encoding


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        encoding_of(b"no image", tmp_path)
    assert caught.value.status == "unsupported"
    with pytest.raises(ImageError) as caught:
        read_encoding(read_file(tmp_path / "none.jpg"))
    assert caught.value.status == "missing"


@pytest.mark.parametrize(
    "encoding", [jpeg_encoding(60), PNG_ENCODING, Encoding("WEBP"), Encoding("WEBP", lossless=True)]
)
def test_only_pixels_are_encoded(encoding: Encoding) -> None:
    exif = Image.Exif()
    exif[0x010E] = "who made me"
    with_metadata = saved(picture(), "PNG", exif=exif, icc_profile=b"profile" * 9, dpi=(300, 300))
    with Image.open(BytesIO(with_metadata)) as image:
        image.load()
        assert {"exif", "icc_profile", "dpi"} <= image.info.keys()
        data = encode_image(image, encoding)
    assert data == encode_image(picture(), encoding)
    assert not any(part in data for part in (b"who made me", b"profile", b"Exif", b"pHYs"))
    with Image.open(BytesIO(data)) as image:
        assert not {"exif", "icc_profile", "dpi", "xmp", "comment"} & image.info.keys()


@pytest.mark.parametrize(
    "encoding", [PNG_ENCODING, Encoding("WEBP", lossless=True)], ids=lambda encoding: encoding.format
)
def test_a_lossless_encoding_keeps_every_pixel(encoding: Encoding) -> None:
    np.testing.assert_array_equal(pixels(encode_image(picture(), encoding)), np.asarray(picture()))


@pytest.mark.parametrize("quality", [30, 60, 90, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_photograph_written_in_its_own_form_changes_little(quality: int, subsampling: int, tmp_path: Path) -> None:
    temple = Image.fromarray(load_sample_images().images[0])
    first = saved(temple, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(BytesIO(first)) as image:
        again = encode_image(image.convert("RGB"), encoding_of(first, tmp_path))
    change = np.abs(pixels(again) - pixels(first))
    assert change.mean() < 0.7
    assert np.quantile(change, 0.99) <= 5


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_noise_with_fine_tables_is_encoded_without_a_warning(
    subsampling: int, progressive: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoding = Encoding("JPEG", ((1,) * 64,) * 2, subsampling, progressive)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    data = encode_image(Image.fromarray(noise), encoding)
    assert encoding_of(data, tmp_path) == encoding
    if subsampling == 0:
        assert len(data) > 3 * 300 * 300
        assert np.abs(pixels(data) - noise).max() <= 4
    assert capfd.readouterr().err == ""  # libjpeg complains there


@given(quality=st.integers(2, 100))
def test_finer_tables_at_a_higher_quality(quality: int) -> None:
    coarse, fine = jpeg_encoding(quality - 1), jpeg_encoding(quality)
    assert all(
        low >= high
        for one, other in zip(coarse.tables, fine.tables, strict=True)
        for low, high in zip(one, other, strict=True)
    )
    assert fine.subsampling == 2
    assert not fine.progressive


def test_each_format_has_a_suffix() -> None:
    assert FORMAT_SUFFIXES == {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
