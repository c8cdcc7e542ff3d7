"""The augmentations that the detector is trained on: repeatable, in the documented ranges, alike for both classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from changeling.images import augmentations
from changeling.images.augmentations import CROPPED_AND_RESAVED, crop_and_resave
from changeling.images.encode import compress
from tests import helpers

SIZES = st.integers(1, 700)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return helpers.coarse_picture(0).resize((640, 480), Image.Resampling.BICUBIC)


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Codec, quality and subsampling of every compression in the test."""
    calls: list[tuple[str, int, int]] = []

    def record(image: Image.Image, codec: str, quality: int, subsampling: int = 2) -> bytes:
        calls.append((codec, quality, subsampling))
        return compress(image, codec, quality, subsampling)  # type: ignore[arg-type]

    monkeypatch.setattr(augmentations, "compress", record)
    return calls


def test_the_name_under_which_features_are_stored_stays() -> None:
    assert (CROPPED_AND_RESAVED.name, CROPPED_AND_RESAVED.apply) == ("view-1", crop_and_resave)


def test_the_same_key_gives_the_same_pixels(photograph: Image.Image) -> None:
    before = photograph.tobytes()
    images = [crop_and_resave(photograph, "key 1") for _ in range(2)]
    assert images[0].size == images[1].size
    assert images[0].tobytes() == images[1].tobytes()
    assert photograph.tobytes() == before


def test_other_keys_give_other_images(photograph: Image.Image) -> None:
    images = {crop_and_resave(photograph, f"key {number}").tobytes() for number in range(20)}
    assert len(images) == 20


@settings(max_examples=60, deadline=None)
@given(width=SIZES, height=SIZES, key=st.text(max_size=20))
def test_any_size_gives_an_rgb_image_that_is_never_scaled_up(width: int, height: int, key: str) -> None:
    result = crop_and_resave(Image.new("RGB", (width, height), (200, 90, 30)), key)
    assert result.mode == "RGB"
    assert 1 <= min(result.size) <= min(512, width, height)
    assert np.abs(np.asarray(result, dtype=int).mean(axis=(0, 1)) - (200, 90, 30)).max() < 6


@settings(max_examples=60, deadline=None)
@given(width=SIZES, height=SIZES, key=st.text(max_size=20))
def test_crops_are_squares_of_half_to_all_of_the_area(width: int, height: int, key: str) -> None:
    result = crop_and_resave(Image.new("RGB", (width, height)), key)
    assert result.width == result.height
    short = min(width, height)
    smallest = int(min(224, short) * 0.5**0.5)
    assert min(short, max(smallest, min(32, short))) <= result.width <= min(512, short)


def test_crops_cover_the_range_of_areas(photograph: Image.Image) -> None:
    small = photograph.resize((300, 224))  # is not scaled: the sides of the crops are those that are drawn
    areas = [(crop_and_resave(small, f"{number}").width / 224) ** 2 for number in range(300)]
    assert 0.48 < min(areas) < 0.55
    assert 0.95 < max(areas) <= 1


def test_half_of_the_crops_are_mirrored() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 300, dtype=np.uint8)[None, :, None], (240, 300, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    pixels = [np.asarray(crop_and_resave(image, f"{number}"), dtype=float) for number in range(200)]
    mirrored = [crop[:, :5].mean() > crop[:, -5:].mean() for crop in pixels]
    assert 70 < sum(mirrored) < 130  # a fair coin is outside once in 40,000 times


def test_codecs_qualities_and_subsampling_have_the_documented_ranges(compressions: list[tuple[str, int, int]]) -> None:
    image = helpers.natural(0, side=64)
    counts = []
    for number in range(400):
        before = len(compressions)
        crop_and_resave(image, f"{number}")
        counts.append(len(compressions) - before)
    codecs, qualities, subsamplings = zip(*compressions, strict=True)
    assert set(counts) == {0, 1, 2}
    assert np.mean(counts) == pytest.approx(0.8 + 0.3, abs=0.12)
    assert codecs.count("JPEG") / len(codecs) == pytest.approx(0.75, abs=0.09)
    assert set(codecs) == {"JPEG", "WEBP"}
    assert (min(qualities), max(qualities)) == (50, 97)
    assert subsamplings.count(0) / len(subsamplings) == pytest.approx(1 / 3, abs=0.1)
    assert set(subsamplings) == {0, 2}


def test_real_and_generated_images_of_one_size_are_changed_alike(compressions: list[tuple[str, int, int]]) -> None:
    """The change depends on the key and the size, not on the pixels."""
    changes = []
    for image in (helpers.natural(1, side=260), helpers.generated(1, side=260)):
        compressions.clear()
        sizes = [crop_and_resave(image, f"{number}").size for number in range(40)]
        changes.append((sizes, list(compressions)))
    assert changes[0] == changes[1]
