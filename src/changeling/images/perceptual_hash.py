"""Perceptual hashes: recognise a picture that was scaled or saved again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SIDE = 32  # pixels of the greyscale thumbnail that is compared
MAX_DISTANCE = 7  # bits of 128 in which the hashes of one picture may differ
MIN_CORRELATION = 0.97  # of the thumbnails of one picture
MAX_BUCKET = 512  # hashes with an equal band that are compared with each other
_PREVIOUS_ROWS = 8  # rows with the same hash that a row is compared with, in addition to the first
_BAND_BITS = 16  # there are more bands than MAX_DISTANCE, so that one of them is equal
_BANDS = 128 // _BAND_BITS
# the 128 lowest frequencies of the cosine transform, without the mean
_FREQUENCIES = sorted(np.ndindex(SIDE, SIDE), key=lambda frequency: (sum(frequency), frequency))[1:129]
_ROWS, _COLUMNS = np.array(_FREQUENCIES).T
PerceptualHashes = NDArray[np.uint64]


def to_greys(image: Image.Image) -> NDArray[np.float32]:
    """RGB image -> greyscale thumbnail (SIDE, SIDE)."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)


def perceptual_hash(greys: NDArray[np.float32]) -> PerceptualHashes:
    """Thumbnail (SIDE, SIDE) -> 128 bits (2,): the signs of its lowest frequencies, which scaling and saving keep."""
    coefficients = dctn(greys, norm="ortho")[_ROWS, _COLUMNS]
    return np.packbits(coefficients > 0).view(np.uint64)


def is_same_picture(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two thumbnails (SIDE, SIDE) show the same picture, by their correlation. False for a single colour."""
    first, second = first - first.mean(), second - second.mean()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return norms > 0 and float((first * second).sum()) >= MIN_CORRELATION * norms


def find_similar_pairs(hashes: PerceptualHashes) -> Iterator[tuple[int, int]]:
    """Yield every two rows of `hashes` (N, 2), the smaller first, that differ in at most MAX_DISTANCE bits.

    Two such hashes are equal in at least one of eight bands, so only rows with an equal band are compared. Of more
    than MAX_BUCKET rows with an equal band only neighbours in sorted order are compared, and a pair may be yielded
    twice. Of rows with the same hash, each is compared with the first and with the rows just before it, and only the
    first is compared with other hashes.
    """
    unique, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    yield from _equal_pairs(inverse.reshape(-1))
    bands = np.ascontiguousarray(unique).view(np.uint16)  # (unique, 8)
    is_crowded = np.stack([np.bincount(keys, minlength=1)[keys] > MAX_BUCKET for keys in bands.T], axis=1)
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band]
        left, step = np.arange(len(order)), 1
        while step <= MAX_BUCKET and len(left := left[left + step < len(order)]):
            left = left[keys[left] == keys[left + step]]
            rows, others = order[left], order[left + step]
            is_similar = np.bitwise_count(unique[rows] ^ unique[others]).sum(axis=1) <= MAX_DISTANCE
            rows, others = rows[is_similar], others[is_similar]
            has_equal_band = bands[rows, :band] == bands[others, :band]
            is_new = ~(has_equal_band & ~is_crowded[rows, :band]).any(axis=1)  # not yielded for an earlier band
            for row, other in zip(first[rows[is_new]].tolist(), first[others[is_new]].tolist(), strict=True):
                yield min(row, other), max(row, other)
            step += 1


def _equal_pairs(hash_numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Rows with the same hash: each with the first of them, and with the rows just before it."""
    order = np.argsort(hash_numbers, kind="stable")
    stops = np.cumsum(np.bincount(hash_numbers))
    starts = np.r_[0, stops[:-1]]
    for start, stop in zip(starts, stops, strict=True) if len(hash_numbers) else ():
        rows = order[start:stop].tolist()
        for index in range(1, len(rows)):
            for earlier in sorted({0, *range(max(0, index - _PREVIOUS_ROWS), index)}):
                yield rows[earlier], rows[index]
