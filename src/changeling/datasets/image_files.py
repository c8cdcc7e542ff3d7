"""The image files that a dataset holds itself, and how a file is called by its bytes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from changeling.errors import DatasetError
from changeling.images.decode import SUFFIXES

_IN_A_FOLDER = 1000  # files
_BEGINNINGS = {
    rb"\xff\xd8\xff": ".jpg",
    rb"\x89PNG": ".png",
    rb"RIFF....WEBP": ".webp",
    rb"....ftyp.{0,28}avi[fs]": ".avif",
    rb"GIF8": ".gif",
    rb"BM": ".bmp",
    rb"II[*+]\0|II\0\*|MM\0[*+]|MM\*\0": ".tif",
    rb"\0\0\0\x0cjP  ": ".jp2",
    rb"\xff\x4f\xff\x51": ".j2k",
    rb"P[0-9fy]": ".pnm",
}


def suffix(data: bytes) -> str:
    """The suffix of an image file with these bytes; empty if they begin as none of the formats that are read."""
    return next((ending for start, ending in _BEGINNINGS.items() if re.match(start, data, re.DOTALL)), "")


@contextmanager
def storing(dataset: Path) -> Iterator[None]:
    """Store the images of a new dataset in the block; if it fails, none of them stays."""
    images = dataset / "images"
    there = images.exists()
    try:
        yield
    except BaseException:
        if not there:
            shutil.rmtree(images, ignore_errors=True)
            with suppress(OSError):  # something else is in it, or it was never made
                dataset.rmdir()
        raise


def store_image(dataset: Path, number: int, data: bytes, name: str = "") -> str:
    """Write the dataset's image with this number, and return its path in the folder.

    Its suffix is that of `name`, what the file was called, if that is an image's, else what its bytes say.

    Raises:
        DatasetError: there is such a file already.
    """
    ending = Path(name).suffix.lower()
    if ending not in SUFFIXES:
        ending = suffix(data)
    path = f"images/{number // _IN_A_FOLDER:04d}/{number:07d}{ending}"
    (dataset / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with (dataset / path).open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise DatasetError(f"{dataset / path} is there already; choose another --output") from None
    return path
