"""Prints find what is near as a slow search does, and survive what a picture survives."""

from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from changeling.images import perceptual_hash as module
from changeling.images.perceptual_hash import (
    MAX_DISTANCE,
    find_similar_pairs,
    is_same_picture,
    perceptual_hash,
    to_greys,
)
from tests import helpers


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.bitwise_count(perceptual_hash(to_greys(one)) ^ perceptual_hash(to_greys(other))).sum())


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 12))
def test_all_that_is_near_is_found_once_and_nothing_else(seed: int, count: int, flips: int) -> None:
    """Prints that lie some flipped bits around a few: many at the very limit, some equal."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (3, 128))[draw.integers(0, 3, count)]
    for row in bits:
        row[draw.permutation(128)[: draw.integers(0, flips)]] ^= 1
    prints = np.packbits(bits.astype(np.uint8), axis=1).view(np.uint64).reshape(count, 2)
    alike: dict[bytes, list[int]] = {}
    for place, row in enumerate(prints):
        alike.setdefault(row.tobytes(), []).append(place)
    slow = {
        (rows[a], rows[b])
        for rows in alike.values()
        for a, b in combinations(range(len(rows)), 2)
        if a == 0 or b - a <= module._PREVIOUS_ROWS
    }
    for one, other in combinations(sorted(rows[0] for rows in alike.values()), 2):
        if (bits[one] != bits[other]).sum() <= MAX_DISTANCE:
            slow.add((one, other))
    found = list(find_similar_pairs(prints))
    assert len(found) == len(set(found))
    assert set(found) == slow


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_that_is_scaled_and_saved_again_is_the_same_and_others_are_not(seed: int) -> None:
    image, buffer = helpers.coarse_picture(seed), BytesIO()
    image.resize((160, 120)).save(buffer, "JPEG", quality=70)
    again, other = Image.open(buffer).convert("RGB"), helpers.coarse_picture(seed + 100)
    assert apart(image, again) <= MAX_DISTANCE < 30 < apart(image, other)
    assert is_same_picture(to_greys(image), to_greys(again))
    assert not is_same_picture(to_greys(image), to_greys(other))


def test_of_one_grey_nothing_is_said() -> None:
    flat = to_greys(Image.new("RGB", (9, 9), (3, 3, 3)))
    assert not is_same_picture(flat, flat + 5)
    assert not is_same_picture(flat, to_greys(helpers.coarse_picture(0)))
    assert perceptual_hash(flat).shape == (2,)


def test_of_a_crowd_of_one_coarse_form_neighbours_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of scans of one form: the first band is equal, and all else is anything."""
    monkeypatch.setattr(module, "MAX_BUCKET", 10)
    count, asked, draw = 2000, 0, np.random.default_rng(0)
    prints = draw.integers(0, 2**64, (count, 2), dtype=np.uint64)
    prints.view(np.uint16)[:, 0] = 7
    prints[1::2] = prints[::2] ^ np.uint64(1 << 63)  # each with another beside it
    counted = np.bitwise_count

    def counting(bits: Any) -> Any:
        nonlocal asked
        asked += len(bits)
        return counted(bits)

    monkeypatch.setattr(np, "bitwise_count", counting)
    assert set(find_similar_pairs(prints)) == {(row, row + 1) for row in range(0, count, 2)}  # by other bands
    assert count * 9 < asked < count * 20  # and not half of count squared
