"""What every source of images shares: finding image files and making rows of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from changeling.datasets.dataset import assign_split
from changeling.datasets.schema import ImageRow, Role, Split
from changeling.errors import DatasetError
from changeling.images.decode import is_image

Sourced = tuple[ImageRow, list[str]]  # an image, and the captions of its cluster if it brings them
Note = Callable[[str], object]  # takes one line on what a source has and lacks


def untold(line: str) -> None:
    """Say nothing: the default of every source."""


def image_files(folder: Path) -> list[str]:
    """List the image files below `folder` by their absolute paths, sorted folder by folder; links are followed.

    No file is looked at: its suffix says that it is an image.

    Raises:
        DatasetError: the folder, or one below it, is not there or cannot be listed.
    """
    found: list[str] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder.absolute(), onerror=_unlisted, followlinks=True):
        folders.sort()
        real = os.path.realpath(root)
        if real in seen:  # a link back up, or twice to the same
            folders.clear()
            continue
        seen.add(real)
        found += [f"{root}{os.sep}{name}" for name in names if is_image(name)]
    return sorted(found, key=lambda path: path.replace(os.sep, "\0"))


def image_row(
    path: str,
    image_id: str,
    role: Role,
    generator: str | None,
    *,
    source: str,
    cluster: str | None = None,
    split: Split | None = None,
    caption_index: int | None = None,
) -> ImageRow:
    """Make an image's row: a cluster of its own if it is in none, its split drawn if it has none.

    Raises:
        DatasetError: a name is not UTF-8.
    """
    cluster_id = cluster or image_id
    try:
        f"{path}{image_id}{cluster_id}{generator}{source}".encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{path!a}: the name is not UTF-8, which tables need; rename the file") from None
    return ImageRow(
        image_id=image_id,
        cluster_id=cluster_id,
        role=role,
        path=path,
        split=split or assign_split(cluster_id),
        source=source,
        caption_index=caption_index if role == "child" else None,
        generator=generator if role == "child" else None,
    )


def _unlisted(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: the folder cannot be read: {error.strerror}")
