"""Thumbnails of pictures in a temporary file: no picture is read twice, and memory holds no thumbnails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray

from changeling.images.perceptual_hash import SIDE


class ThumbnailFile:
    """Greyscale thumbnails (SIDE, SIDE) of 8-bit levels, by their number from 0."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def append(self, greys: NDArray[np.float32]) -> None:
        """Write the next thumbnail; its levels are whole numbers from 0 to 255."""
        self._file.write(greys.astype(np.uint8).tobytes())

    def read(self, number: int) -> NDArray[np.float32]:
        """Return a thumbnail (SIDE, SIDE). Do not append afterwards."""
        self._file.seek(number * SIDE * SIDE)
        levels = np.frombuffer(self._file.read(SIDE * SIDE), np.uint8)
        return levels.reshape(SIDE, SIDE).astype(np.float32)


@contextmanager
def open_thumbnail_file() -> Iterator[ThumbnailFile]:
    """Yield an empty file of thumbnails, which is removed at the end of the block."""
    with tempfile.TemporaryFile() as file:
        yield ThumbnailFile(file)
