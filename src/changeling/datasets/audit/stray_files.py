"""Files in the folder of a dataset that do not belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.audit.findings import Finding
from changeling.datasets.dataset import Dataset


def find_stray_files(dataset: Dataset) -> Iterator[Finding]:
    """Yield files in images/ that no row names, and temporary files anywhere in the folder."""
    folder = os.path.abspath(dataset.path)  # noqa: PTH100 (links stay as they are)
    images = os.path.join(folder, "images", "")  # noqa: PTH118
    named = _hash_named_paths(dataset, folder)
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)  # noqa: PTH118
            relative = path.removeprefix(f"{folder}{os.sep}")
            if name.startswith(".") and name.endswith(".tmp"):
                yield Finding.printable("leftover", relative, "remove it if no command is running")
            elif path.startswith(images) and not name.startswith("."):
                index = np.searchsorted(named, hash(path))
                if index == len(named) or named[index] != hash(path):
                    yield Finding.printable("orphan", relative, "no row names it")


def _hash_named_paths(dataset: Dataset, folder: str) -> NDArray[np.int64]:
    """Hashes of the absolute paths of all rows, sorted: they need a tenth of the memory of the paths."""
    paths = (path for batch in dataset.images["path"].chunks for path in batch.to_pylist())
    hashes = np.fromiter((hash(os.path.normpath(os.path.join(folder, path))) for path in paths), np.int64)  # noqa: PTH118
    hashes.sort()
    return hashes
