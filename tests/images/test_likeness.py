"""Prints find what is near as a slow search does, and survive what a picture survives."""

from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from changeling.images.likeness import NEAR, alike, fingerprint, near_prints, small
from tests import helpers


def picture(seed: int) -> Image.Image:
    coarse, finer = (helpers.natural(seed, side).resize((300, 200), Image.Resampling.BICUBIC) for side in (6, 24))
    return Image.blend(coarse, finer, 0.5)


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.bitwise_count(fingerprint(small(one)) ^ fingerprint(small(other))).sum())


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 12))
def test_all_that_is_near_is_found_once_and_nothing_else(seed: int, count: int, flips: int) -> None:
    """Prints that lie some flipped bits around a few: many at the very limit, some equal."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (3, 128))[draw.integers(0, 3, count)]
    for row in bits:
        row[draw.permutation(128)[: draw.integers(0, flips)]] ^= 1
    prints = np.packbits(bits.astype(np.uint8), axis=1).view(np.uint64).reshape(count, 2)
    first: dict[bytes, int] = {}
    origin = [first.setdefault(row.tobytes(), place) for place, row in enumerate(prints)]
    slow = {(one, row) for row, one in enumerate(origin) if one != row}
    for one, other in combinations(sorted(first.values()), 2):
        if (bits[one] != bits[other]).sum() <= NEAR:
            slow.add((one, other))
    found = list(near_prints(prints))
    assert len(found) == len(set(found))
    assert set(found) == slow


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_that_is_scaled_and_saved_again_is_the_same_and_others_are_not(seed: int) -> None:
    image, buffer = picture(seed), BytesIO()
    image.resize((150, 100)).save(buffer, "JPEG", quality=70)
    again, other = Image.open(buffer).convert("RGB"), picture(seed + 100)
    assert apart(image, again) <= NEAR < 30 < apart(image, other)
    assert alike(small(image), small(again))
    assert not alike(small(image), small(other))


def test_one_colour_is_like_one_colour_and_breaks_nothing() -> None:
    flat = small(Image.new("RGB", (9, 9), (3, 3, 3)))
    assert alike(flat, flat + 5)
    assert fingerprint(flat).shape == (2,)
