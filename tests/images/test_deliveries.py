"""Deliveries: fixed, of any size, and each one different from the picture and from the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from changeling.images.deliveries import DELIVERIES, MIN_SIDE, REDUCED_SIDE, Delivery, deliver, deliver_in_all_ways
from tests import helpers

PHOTOGRAPH = helpers.coarse_picture(0)  # 320 x 240


def test_a_delivery_gives_the_same_pixels_each_time_and_leaves_the_picture_unchanged() -> None:
    before = PHOTOGRAPH.tobytes()
    first, second = ([image.tobytes() for image in deliver_in_all_ways(PHOTOGRAPH)] for _ in range(2))
    assert first == second
    assert PHOTOGRAPH.tobytes() == before
    assert len({before, *first}) == 1 + len(DELIVERIES)


@pytest.mark.parametrize(
    ("delivery", "size"),
    [
        (Delivery("saved"), (320, 240)),
        (Delivery("half", scale=0.5), (160, 120)),
        (Delivery("cropped", crop=0.75), (240, 180)),
        (Delivery("both", crop=0.75, scale=0.5), (120, 90)),
        (Delivery("too small", scale=0.1), (43, MIN_SIDE)),
    ],
)
def test_a_delivery_has_the_size_that_it_says(delivery: Delivery, size: tuple[int, int]) -> None:
    assert deliver(PHOTOGRAPH, delivery).size == size


def test_a_crop_keeps_the_centre() -> None:
    image = Image.new("RGB", (100, 60), "white")
    image.paste("black", (20, 12, 80, 48))
    cropped = deliver(image, Delivery("crop", crop=0.6, codec=None))
    assert cropped.getcolors() == [(60 * 36, (0, 0, 0))]


def test_low_quality_changes_the_picture_more_and_no_codec_changes_nothing() -> None:
    original = np.asarray(PHOTOGRAPH, dtype=float)
    errors = [
        np.abs(np.asarray(deliver(PHOTOGRAPH, delivery), dtype=float) - original).mean()
        for delivery in (Delivery("", codec=None), Delivery("", quality=90), Delivery("", quality=30))
    ]
    assert errors[0] == 0 < errors[1] < errors[2]


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_pictures_of_any_size_can_be_delivered(width: int, height: int) -> None:
    for image in deliver_in_all_ways(Image.new("RGB", (width, height), (200, 90, 30))):
        assert image.mode == "RGB"
        assert min(image.size) >= 0.9 * min(MIN_SIDE, width, height) - 1  # a crop takes away a tenth
        assert np.abs(np.asarray(image, dtype=int).mean(axis=(0, 1)) - (200, 90, 30)).max() < 6


@pytest.mark.parametrize("size", [(2200, 1500), (30_000, 40), (40, 70_000)])
def test_large_and_long_pictures_are_reduced_first(size: tuple[int, int]) -> None:
    """A side of 30,000 pixels is too long for WebP, and one of 70,000 for JPEG."""
    sizes = [image.size for image in deliver_in_all_ways(Image.new("RGB", size))]
    assert len(sizes) == len(DELIVERIES)
    assert max(min(size) for size in sizes) < 2 * REDUCED_SIDE
    assert max(max(size) / min(size) for size in sizes) < 4.2
