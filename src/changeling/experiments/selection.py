"""Rows of a dataset that an experiment works on, and the generators that it compares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.results.format import ALL_LABEL

MIN_CLUSTERS = 3  # a generator with fewer clusters in every split gets no row of its own
SPLIT_TITLES: dict[Split, str] = {"val": "Validation", "test": "Test"}


def list_generators(dataset: Dataset) -> list[str]:
    """Return the generator labels of a table's rows.

    The name of the generator if there is only one; otherwise `all` and each generator with enough clusters, sorted.
    """
    names, clusters, splits = dataset.column("generator"), dataset.clusters, dataset.column("split")
    present = sorted(set(names[dataset.labels == 1]))
    if len(present) == 1:
        return present
    large_enough = [
        name
        for name in present
        if any(len(set(clusters[(names == name) & (splits == split)])) >= MIN_CLUSTERS for split in SPLIT_TITLES)
    ]
    return [ALL_LABEL, *large_enough]


def select_all(dataset: Dataset) -> NDArray[np.bool_]:
    """Return a mask of all rows (N,), as if every image had a feature."""
    return np.ones(len(dataset), dtype=np.bool_)


def select_rows(dataset: Dataset, valid: NDArray[np.bool_], generator: str, split: Split) -> NDArray[np.int64]:
    """Return the valid rows of a split that belong to a generator.

    All rows for `all` or the only generator; otherwise the generator's children and the parents of their clusters.
    """
    mask = (dataset.column("split") == split) & valid
    children = mask & (dataset.column("generator") == generator)
    if generator != ALL_LABEL and children.sum() < (mask & (dataset.labels == 1)).sum():
        parents = mask & (dataset.labels == 0) & np.isin(dataset.clusters, dataset.clusters[children])
        mask = children | parents
    return np.flatnonzero(mask)


def select_paired_rows(dataset: Dataset, valid: NDArray[np.bool_], generator: str, split: Split) -> NDArray[np.int64]:
    """Return the rows of a split's clusters that have a parent and a child by a generator, sorted by cluster."""
    rows = select_rows(dataset, valid, generator, split)
    clusters, labels = dataset.clusters[rows], dataset.labels[rows]
    has_parent, has_child = (np.isin(clusters, clusters[labels == label]) for label in (0, 1))
    rows = rows[has_parent & has_child]
    return rows[np.argsort(dataset.clusters[rows], kind="stable")]


def draw_one_per_cluster(
    rows: NDArray[np.int64], clusters: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return one random row of each cluster among `rows`; `clusters` (N,) has the cluster of every row."""
    shuffled = rng.permutation(rows)
    _, first = np.unique(clusters[shuffled], return_index=True)
    return shuffled[first]


def has_both_classes(labels: NDArray[np.int64]) -> bool:
    """Return whether there are real and fake images among some labels."""
    return len(np.unique(labels)) == 2


def renumber_clusters(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber clusters as 0 .. C - 1."""
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)
