"""Transformations: repeatable, of the promised size, and stronger at each strength than at the one before."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from changeling.errors import ImageError
from changeling.images.encode import MAX_SIDES, encode_for_web, recompress, reencode_for_web
from changeling.images.transformations import TRANSFORMATIONS, Transformation, transform

ALL = pytest.mark.parametrize("transformation", TRANSFORMATIONS.values(), ids=lambda value: value.name)
SAME_SIZE = [item for item in TRANSFORMATIONS.values() if item.keeps_size]
OTHER_SIZE = [item for item in TRANSFORMATIONS.values() if not item.keeps_size]
KEYS = st.text(max_size=8)


@cache
def load_photograph() -> Image.Image:
    """A real photograph of a Chinese temple, 240 x 160."""
    return Image.fromarray(load_sample_images().images[0]).resize((240, 160), Image.Resampling.LANCZOS)


@pytest.fixture
def photograph() -> Image.Image:
    return load_photograph()


def to_array(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


def measure_distortion(first: Image.Image, second: Image.Image) -> float:
    return float(np.sqrt(((to_array(first) - to_array(second)) ** 2).mean()))


def apply_all(photograph: Image.Image, transformation: Transformation, key: str) -> list[Image.Image]:
    return [transform(photograph, transformation, strength, key) for strength in transformation.strengths]


def test_there_are_fifteen_with_five_strengths_each_but_two_flips() -> None:
    assert len(TRANSFORMATIONS) == 15
    assert {name: len(set(item.strengths)) for name, item in TRANSFORMATIONS.items()} == (
        dict.fromkeys(TRANSFORMATIONS, 5) | {"flip": 2}
    )


@ALL
def test_the_same_key_gives_the_same_pixels(transformation: Transformation, photograph: Image.Image) -> None:
    before = photograph.tobytes()
    for strength in transformation.strengths:
        first, second = (transform(photograph, transformation, strength, "0/a") for _ in range(2))
        assert (first.size, first.tobytes()) == (second.size, second.tobytes())
    assert photograph.tobytes() == before


@pytest.mark.parametrize("name", ["noise", "crop", "brightness", "rotation", "text", "screenshot", "social media"])
def test_other_keys_make_other_choices(name: str, photograph: Image.Image) -> None:
    transformation = TRANSFORMATIONS[name]
    images = {transform(photograph, transformation, transformation.strengths[3], f"0/{i}").tobytes() for i in range(8)}
    assert len(images) > 1


@ALL
@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), key=KEYS, data=st.data())
def test_any_size_gives_an_rgb_image_of_the_promised_size(
    transformation: Transformation, width: int, height: int, key: str, data: st.DataObject
) -> None:
    strength = data.draw(st.sampled_from(transformation.strengths))
    result = transform(Image.new("RGB", (width, height), (200, 90, 30)), transformation, strength, key)
    assert result.mode == "RGB"
    if transformation.keeps_size:
        assert result.size == (width, height)
    else:
        assert 1 <= result.width <= width
        assert 1 <= result.height <= height


@pytest.mark.parametrize(
    "transformation", [item for item in SAME_SIZE if item.name != "flip"], ids=lambda item: item.name
)
@settings(max_examples=5, deadline=None)
@given(key=KEYS)
def test_each_strength_distorts_a_photograph_more(transformation: Transformation, key: str) -> None:
    picture = load_photograph()
    distortions = [measure_distortion(picture, image) for image in apply_all(picture, transformation, key)]
    assert distortions[0] > 0
    assert distortions == sorted(distortions)
    assert len(set(distortions)) == len(distortions)


@pytest.mark.parametrize("transformation", OTHER_SIZE, ids=lambda item: item.name)
@settings(max_examples=5, deadline=None)
@given(key=KEYS)
def test_each_strength_leaves_less_of_a_photograph(transformation: Transformation, key: str) -> None:
    picture = load_photograph()
    areas = [image.width * image.height for image in apply_all(picture, transformation, key)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] < picture.width * picture.height
    assert len(set(areas)) == len(areas)


def test_the_crop_of_each_strength_lies_in_the_one_before() -> None:
    ramp = np.arange(60 * 40).reshape(40, 60)
    rows = Image.fromarray(np.stack([ramp // 256, ramp % 256, ramp * 0], axis=2).astype(np.uint8))
    for key in "abc":
        seen = None
        for image in apply_all(rows, TRANSFORMATIONS["crop"], key):
            pixels = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}
            assert seen is None or pixels <= seen
            seen = pixels


def test_a_rotated_image_has_no_empty_corners() -> None:
    white = Image.new("RGB", (150, 100), "white")
    for image in apply_all(white, TRANSFORMATIONS["rotation"], "a"):
        assert np.asarray(image)[1:-1, 1:-1].min() == 255


def test_both_flips_are_undone_by_a_second_one(photograph: Image.Image) -> None:
    flip = TRANSFORMATIONS["flip"]
    mirrored, turned = apply_all(photograph, flip, "a")
    assert np.array_equal(to_array(mirrored), to_array(photograph)[:, ::-1])
    assert np.array_equal(to_array(turned), to_array(photograph)[::-1, ::-1])
    for image, axis in ((mirrored, 1), (turned, 2)):
        assert transform(image, flip, axis, "a").tobytes() == photograph.tobytes()


def test_the_last_strength_of_greyscale_leaves_no_colour(photograph: Image.Image) -> None:
    grey = to_array(apply_all(photograph, TRANSFORMATIONS["greyscale"], "a")[-1])
    assert np.ptp(grey, axis=2).max() == 0


def test_noise_has_the_deviation_that_its_strength_says() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    for strength in TRANSFORMATIONS["noise"].strengths[:4]:  # the last one is clipped
        noisy = transform(grey, TRANSFORMATIONS["noise"], strength, "a")
        assert (to_array(noisy) - 128).std() == pytest.approx(strength, rel=0.05)


def test_text_covers_only_part_of_the_image(photograph: Image.Image) -> None:
    for image in apply_all(photograph, TRANSFORMATIONS["text"], "a"):
        is_covered = (to_array(image) != to_array(photograph)).any(axis=2)
        assert 0 < is_covered.mean() < 0.4


def test_an_image_that_a_format_cannot_hold_is_an_error() -> None:
    with pytest.raises(ImageError, match="too many for WEBP"):
        recompress(Image.new("RGB", (MAX_SIDES["WEBP"] + 1, 1)), "WEBP", 80)


def test_reencoding_for_the_web_gives_the_pixels_of_the_encoded_file(photograph: Image.Image) -> None:
    result = reencode_for_web(photograph.resize((800, 535)))
    assert (result.mode, min(result.size)) == ("RGB", 384)
    assert encode_for_web(result) != encode_for_web(photograph)
    assert result.tobytes() == reencode_for_web(photograph.resize((800, 535))).tobytes()
