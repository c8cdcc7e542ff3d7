"""The image files that a dataset stores in its own folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from changeling.errors import DatasetError
from changeling.images.decode import SUFFIXES

_FILES_PER_FOLDER = 1000
_SIGNATURES = {  # of the first bytes of a file
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


def detect_suffix(data: bytes) -> str:
    """Return the suffix of an image file with these bytes, or "" if they do not begin like a supported format."""
    return next((suffix for signature, suffix in _SIGNATURES.items() if re.match(signature, data, re.DOTALL)), "")


@contextmanager
def remove_images_on_failure(dataset: Path) -> Iterator[None]:
    """Remove the images of a new dataset if the block that stores them fails."""
    images = dataset / "images"
    existed = images.exists()
    try:
        yield
    except BaseException:
        if not existed:
            shutil.rmtree(images, ignore_errors=True)
            with suppress(OSError):  # the folder has other files, or does not exist
                dataset.rmdir()
        raise


def store_image(dataset: Path, number: int, data: bytes, name: str = "") -> str:
    """Write the image with this number to the dataset, and return its path relative to the dataset.

    Its suffix is the one of `name`, the original file name, if that is an image's, and otherwise follows from `data`.

    Raises:
        DatasetError: the file exists already.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        suffix = detect_suffix(data)
    path = f"images/{number // _FILES_PER_FOLDER:04d}/{number:07d}{suffix}"
    (dataset / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with (dataset / path).open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise DatasetError(f"{dataset / path} exists already; choose another output folder") from None
    return path
