"""Pictures that several clusters of a dataset share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from changeling.datasets.audit.file_checks import Pictures
from changeling.datasets.audit.findings import Finding, Kind
from changeling.datasets.dataset import Dataset
from changeling.images.perceptual_hash import find_similar_pairs, is_same_picture


def find_duplicates(dataset: Dataset, pictures: Pictures) -> Iterator[Finding]:
    """Yield a finding for each picture that an earlier image of another cluster shows too.

    A picture is recognised if it was scaled or saved again, but not if it was cropped, rotated or mirrored. Images of
    one cluster may be alike.
    """
    groups = _group_pictures(dataset, pictures)
    ids, clusters, splits = dataset.column("image_id"), dataset.clusters, dataset.column("split")
    for number, row in enumerate(pictures.rows.tolist()):
        first = int(pictures.rows[groups.find_first(number)])
        if clusters[row] != clusters[first]:
            kind: Kind = "duplicate" if splits[row] == splits[first] else "leak"
            detail = f"in {splits[row]}, the same picture as {ids[first]} in {splits[first]}"
            yield Finding.printable(kind, ids[row], detail)


class _Groups:
    """Disjoint groups of numbers from 0, each known by its smallest number (union-find)."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def find_first(self, number: int) -> int:
        """Return the smallest number of the group."""
        while self._parent[number] != number:
            number = self._parent[number] = int(self._parent[self._parent[number]])
        return number

    def merge(self, number: int, other: int) -> None:
        """Merge the groups of both numbers."""
        first, second = self.find_first(number), self.find_first(other)
        self._parent[max(first, second)] = min(first, second)


def _group_pictures(dataset: Dataset, pictures: Pictures) -> _Groups:
    """Group pictures with the same bytes, and pictures of different clusters whose thumbnails are the same."""
    groups = _Groups(len(pictures.rows))
    numbers = np.flatnonzero(pictures.is_as_recorded)
    sha256 = dataset.column("sha256")[pictures.rows[numbers]].astype(str)
    _, first, inverse = np.unique(sha256, return_index=True, return_inverse=True)
    for number, original in zip(numbers.tolist(), numbers[first[inverse]].tolist(), strict=True):
        groups.merge(number, original)
    clusters = dataset.clusters[pictures.rows]
    for number, other in find_similar_pairs(pictures.hashes):
        if clusters[number] == clusters[other] or groups.find_first(number) == groups.find_first(other):
            continue
        if is_same_picture(pictures.thumbnails.read(number), pictures.thumbnails.read(other)):
            groups.merge(number, other)
    return groups
