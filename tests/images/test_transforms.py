"""Preprocessing against the same thing written out by hand, without Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from changeling.images.decode import read_file
from changeling.images.transforms import CLIP, IMAGENET, Preprocessing, centre_crop, resize_short, resize_square
from tests.hostile import picture

PLAIN = Preprocessing(resize=32, crop=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.asarray(np.where(x < 1, inner, np.where(x < 2, outer, 0)))


def triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def resampled(pixels: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[np.float64]:
    """Antialiased resizing (H, W, 3) -> (height, width, 3): first along rows, each pass rounded to a byte."""
    kernel, reach = {"bicubic": (cubic, 2), "bilinear": (triangle, 1)}[interpolation]
    result = pixels.astype(np.float64)
    for axis, new in ((1, size[0]), (0, size[1])):
        old = result.shape[axis]
        stretch = max(old / new, 1)
        weights = np.zeros((new, old))
        for i in range(new):
            centre = (i + 0.5) * old / new
            first = max(0, int(centre - reach * stretch + 0.5))
            last = min(old, int(centre + reach * stretch + 0.5))
            weights[i, first:last] = kernel((np.arange(first, last) + 0.5 - centre) / stretch)
        weights /= weights.sum(axis=1, keepdims=True)
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
        result = np.floor(result + 0.5).clip(0, 255)
    return result


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("size", "resized"),
    [((64, 48), (43, 32)), ((48, 64), (32, 43)), ((101, 99), (33, 32)), ((20, 20), (32, 32)), ((17, 60), (32, 113))],
)
def test_preprocessing_is_resize_crop_scale_normalise(
    interpolation: Any, size: tuple[int, int], resized: tuple[int, int]
) -> None:
    image = picture(size)
    preprocessing = CLIP.model_copy(update={"resize": 32, "crop": 24, "interpolation": interpolation})
    small = resampled(np.asarray(image), resized, interpolation)
    left, top = round((resized[0] - 24) / 2), round((resized[1] - 24) / 2)
    expected = (small[top : top + 24, left : left + 24] / 255 - CLIP.mean) / CLIP.std
    result = preprocessing(image)
    assert result.shape == (3, 24, 24)
    assert result.dtype == np.float32
    assert result.flags["C_CONTIGUOUS"]
    step = 1.01 / 255 / np.array(CLIP.std)  # Pillow's kernels are fixed point: now and then it rounds the other way
    difference = np.abs(result.transpose(1, 2, 0) - expected)
    assert (difference <= step).all()
    assert np.mean(difference > step / 2) < 0.01


def test_an_image_of_the_right_size_is_only_scaled() -> None:
    image = picture((24, 24))
    preprocessing = PLAIN.model_copy(update={"resize": 24})
    expected = np.asarray(image).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(preprocessing(image), expected.astype(np.float32))


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (20, 300), (300, 20)])
def test_of_a_long_image_the_middle_counts(size: tuple[int, int]) -> None:
    image = picture(size)
    width, height = (min(side, 4 * min(size)) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    middle = image.crop((left, top, left + width, top + height))
    np.testing.assert_array_equal(PLAIN(image), PLAIN(middle))
    assert PLAIN(image).shape == (3, 24, 24)


@pytest.mark.parametrize(
    ("size", "resized"),
    [((64, 48), (42, 32)), ((48, 64), (32, 42)), ((101, 99), (32, 32)), ((17, 60), (32, 112)), ((300, 600), (32, 64))],
)
def test_version_2_rounds_the_long_side_down(size: tuple[int, int], resized: tuple[int, int]) -> None:
    image = picture(size)
    small = image.resize(resized, Image.Resampling.BICUBIC)
    expected = np.asarray(centre_crop(small, 24), dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(PLAIN.model_copy(update={"version": 2})(image), expected)


@pytest.mark.parametrize(("size", "resized"), [((64, 48), (43, 32)), ((32, 99), (32, 99)), ((1, 1), (32, 32))])
def test_resize_short(size: tuple[int, int], resized: tuple[int, int]) -> None:
    image = picture(size)
    result = resize_short(image, 32)
    assert result.size == resized
    assert (result is image) == (size == resized)


def test_centre_crop_cuts_or_pads_with_black() -> None:
    pixels = np.arange(1, 26, dtype=np.uint8).reshape(5, 5)
    image = Image.fromarray(pixels)
    np.testing.assert_array_equal(np.asarray(centre_crop(image, 3)), pixels[1:4, 1:4])
    np.testing.assert_array_equal(np.asarray(centre_crop(image, 9)), np.pad(pixels, 2))


def test_hashes_are_those_that_features_and_detectors_carry() -> None:
    assert CLIP.hash == "6b9de4eef090"
    assert IMAGENET.hash == "324fe8c5b230"


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 225},
        {"crop": 223},
        {"interpolation": "bilinear"},
        {"mean": (0.5, 0.4578275, 0.40821073)},
        {"std": (0.26862954, 0.26130258, 0.3)},
        {"version": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_changes_the_hash(change: dict[str, Any]) -> None:
    assert set(Preprocessing.model_fields) == {"version", "resize", "crop", "interpolation", "mean", "std"}
    changed = CLIP.model_copy(update=change)
    assert changed.hash != CLIP.hash
    assert changed.model_copy(update={next(iter(change)): getattr(CLIP, next(iter(change)))}).hash == CLIP.hash


def test_the_hash_survives_being_written_and_read() -> None:
    assert Preprocessing.model_validate_json(CLIP.model_dump_json()).hash == CLIP.hash


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    picture((512, 512)).save(tmp_path / "x.jpg")
    decoded = PLAIN.decode(read_file(tmp_path / "x.jpg"))
    assert decoded.image.size == (64, 64)
    assert (decoded.width, decoded.height) == (512, 512)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (100, 20), (20, 20)])
@pytest.mark.parametrize("side", [20, 33])
def test_a_square_is_cropped_from_the_centre(size: tuple[int, int], side: int) -> None:
    width, height = size
    ramp = np.broadcast_to(np.linspace(0, 250, width)[None, :, None], (height, width, 3)).astype(np.uint8)
    cut = resize_square(Image.fromarray(ramp), side)
    assert cut.size == (side, side)
    middle = np.asarray(cut, dtype=np.float64).mean(axis=(0, 2))
    assert abs(middle.mean() - 125) < 6
    shown = 250 * min(size) / width  # of the ramp
    assert abs((middle[-1] - middle[0]) - shown) < 0.12 * shown + 6


@settings(max_examples=40)
@given(
    width=st.integers(20, 400),
    height=st.integers(20, 400),
    version=st.sampled_from([1, 2]),
    resize=st.integers(32, 48),
)
def test_the_crop_is_found_where_the_backbone_sees_it(width: int, height: int, version: int, resize: int) -> None:
    """Each pixel of the image holds its own place, as the middle of the pixel."""
    preprocessing = Preprocessing(version=version, resize=resize, crop=32, mean=(0, 0, 0), std=(1, 1, 1))
    left, top, right, bottom = preprocessing.find_crop(width, height)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    places = np.broadcast_to(np.stack(np.broadcast_arrays(x, y[:, None], 0), axis=-1) / 2, (height, width, 3))
    seen = 2 * 255 * preprocessing(Image.fromarray(places.astype(np.uint8)))
    step_x, step_y = (right - left) / 32, (bottom - top) / 32
    middle = (np.arange(8, 24) + 0.5) * step_x + left, (np.arange(8, 24) + 0.5) * step_y + top
    assert seen[0, 16, 8:24] == pytest.approx(middle[0], abs=2)
    assert seen[1, 8:24, 16] == pytest.approx(middle[1], abs=2)
