"""Knowing a picture again after it was scaled or saved again: by a print of 16 bytes, and by a closer look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SIDE = 32  # pixels that are looked at: what is smaller than a thirty-second of the picture does not count
NEAR = 7  # bits of 128 in which two prints of one picture may differ
ALIKE = 0.97  # correlation of two pictures, from which on they are one
CROWD = 512  # pictures of one coarse form that are compared with each other
_BEFORE = 8  # rows of the same print that one is compared with, beside the first
_BAND = 16  # bits; more bands than NEAR, so that one of them is equal
# of the cosines, the 128 longest waves but for the mean
_WAVES = sorted(np.ndindex(SIDE, SIDE), key=lambda wave: (sum(wave), wave))[1:129]
_ROWS, _COLUMNS = np.array(_WAVES).T
Prints = NDArray[np.uint64]


def small(image: Image.Image) -> NDArray[np.float32]:
    """RGB image -> its greys, (SIDE, SIDE)."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)


def fingerprint(greys: NDArray[np.float32]) -> Prints:
    """Greys (SIDE, SIDE) -> 128 bits (2,): the signs of the longest waves, which scaling and saving leave alone."""
    waves = dctn(greys, norm="ortho")[_ROWS, _COLUMNS]
    return np.packbits(waves > 0).view(np.uint64)


def alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two pictures' greys (SIDE, SIDE) show one picture."""
    one, other = first - first.mean(), second - second.mean()
    both = float(np.linalg.norm(one) * np.linalg.norm(other))
    return both > 0 and float((one * other).sum()) >= ALIKE * both  # of two greys nothing can be said


def near_prints(prints: Prints) -> Iterator[tuple[int, int]]:
    """Yield each two rows of (N, 2), the smaller first, whose prints differ in at most NEAR bits.

    Two such prints are equal in one of eight bands, so that only rows that share one are compared; of more than
    `CROWD` that do, as of pages of one form, only those that stand near each other in order, and maybe twice. Of rows
    with the same print, each is compared with the first and with those just before it, and the first with the rest.
    """
    kept, first, inverse = np.unique(prints, axis=0, return_index=True, return_inverse=True)
    yield from _equal(inverse.reshape(-1))
    bands = np.ascontiguousarray(kept).view(np.uint16)  # (unique, 8)
    crowded = np.stack([np.bincount(keys, minlength=1)[keys] > CROWD for keys in bands.T], axis=1)
    for band in range(128 // _BAND):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band]
        left, step = np.arange(len(order)), 1
        while step <= CROWD and len(left := left[left + step < len(order)]):
            left = left[keys[left] == keys[left + step]]
            one, other = order[left], order[left + step]
            close = np.bitwise_count(kept[one] ^ kept[other]).sum(axis=1) <= NEAR
            one, other = one[close], other[close]
            equal = bands[one, :band] == bands[other, :band]
            told = (equal & ~crowded[one, :band]).any(axis=1)  # by an earlier band
            for a, b in zip(first[one[~told]].tolist(), first[other[~told]].tolist(), strict=True):
                yield min(a, b), max(a, b)
            step += 1


def _equal(prints: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Rows of the same print: each with the first of them, and with the last ones before it."""
    order = np.argsort(prints, kind="stable")
    ends = np.cumsum(np.bincount(prints))
    for start, end in zip((0, *ends[:-1]), ends, strict=True) if len(prints) else ():
        rows = order[start:end].tolist()
        for place in range(1, len(rows)):
            for other in sorted({0, *range(max(0, place - _BEFORE), place)}):
                yield rows[other], rows[place]
