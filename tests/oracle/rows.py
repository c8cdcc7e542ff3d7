"""Which images each row of a table rests on, and the rows of all tables of a study."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.oracle.data import GENERATORS, Images
from tests.oracle.intervals import Bools, Cell, Ints

ALL = "all"
EVALUATED = ("val", "test")
ROW_GENERATORS = (ALL, *GENERATORS)
Rows = dict[tuple[str, ...], dict[str, Cell]]  # the cells of a table, by the labels of the row


def find_rows(images: Images, backbone: str, generator: str, split: str) -> Ints:
    """Return the images with a feature of a split: all, or a generator's children and the parents of their clusters."""
    is_present = images.has_feature(backbone) & (images.split == split)
    if generator == ALL:
        return np.flatnonzero(is_present)
    is_child = is_present & (images.generator == generator)
    own_clusters = set(images.cluster[is_child].tolist())
    is_parent = is_present & ~images.is_child & np.array([c in own_clusters for c in images.cluster.tolist()])
    return np.flatnonzero(is_child | is_parent)


def find_training_children(images: Images, backbone: str, train_on: str, split: str) -> Bools:
    """Return a mask of the children with a feature of a split, of all generators or of one."""
    is_child = images.has_feature(backbone) & (images.split == split) & images.is_child
    return np.asarray(is_child if train_on == ALL else is_child & (images.generator == train_on))


def list_members(images: Images, rows: Ints) -> Iterator[Ints]:
    """Yield the rows of each cluster among `rows`, clusters in order of their first image in the dataset."""
    first: dict[int, int] = {}
    for number, cluster in enumerate(images.cluster.tolist()):
        first.setdefault(cluster, number)
    for cluster in sorted(set(images.cluster[rows].tolist()), key=first.__getitem__):
        yield rows[images.cluster[rows] == cluster]
