"""R@k: whether the captions nearest to a child are its own, or of its cluster (section 4.2, Table 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.reporting import find_common_chance, make_estimate
from changeling.experiments.selection import SPLIT_TITLES, list_generators, renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.result import Column, Estimate, Row
from changeling.stats.intervals import ratio_interval
from changeling.stats.retrieval import recall_at, retrieval_ranks

KS = (1, 3, 5)
_MATCHES = {"exact": "exact pair", "cluster": "intra-cluster"}


def compute_recall_rows(
    dataset: Dataset, features: Features, captions: NDArray[np.float32], labels: dict[str, str]
) -> Iterator[Row]:
    """Yield a row of R@k for each generator with captions; `labels` are those of its row beside the generator.

    Args:
        features: of all images (N, D).
        captions: features of all captions (G, D); those of the train split are not used.
    """
    caption_clusters = _number_caption_clusters(dataset)
    for generator in list_generators(dataset):
        cells = _compute_cells(dataset, features, captions, caption_clusters, generator)
        if cells:
            yield Row(labels={"Generator": generator, **labels}, cells=cells)


def list_recall_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns of a table of R@k, with the levels of chance that all rows share."""
    return tuple(
        Column(
            key=f"{split}_{match}_{k}",
            label=f"R@{k}",
            group=f"{title}: {match_title}",
            chance=find_common_chance(rows, f"{split}_{match}_{k}"),
        )
        for split, title in SPLIT_TITLES.items()
        for match, match_title in _MATCHES.items()
        for k in KS
    )


def _compute_cells(
    dataset: Dataset,
    features: Features,
    captions: NDArray[np.float32],
    caption_clusters: NDArray[np.int64],
    generator: str,
) -> dict[str, Estimate]:
    """Return R@k by split; `captions` (G, D) belong to the clusters `caption_clusters` (G,).

    A child whose own caption is unknown has no exact pair, but a cluster.
    """
    cells: dict[str, Estimate] = {}
    for split in SPLIT_TITLES:
        gallery = _select_gallery(dataset, caption_clusters, split)
        rows = select_rows(dataset, features.valid, generator, split)
        queries = rows[(dataset.labels[rows] == 1) & np.isin(dataset.clusters[rows], caption_clusters[gallery])]
        if not len(queries):
            continue
        own_caption = _find_own_captions(dataset, caption_clusters, gallery, queries)
        is_known = own_caption >= 0
        any_caption = _find_first_captions(dataset.clusters[queries], caption_clusters[gallery])
        ranks = retrieval_ranks(
            features.values[queries],
            captions[gallery],
            np.where(is_known, own_caption, any_caption),
            caption_clusters[gallery],
        )
        clusters = dataset.clusters[queries]
        counts = np.bincount(caption_clusters[gallery])[clusters]  # captions of the cluster of each query
        for k in KS:
            if is_known.any():
                exact = recall_at(ranks.exact[is_known], k, renumber_clusters(clusters[is_known]))
                cells[f"{split}_exact_{k}"] = make_estimate(ratio_interval(exact), min(k / len(gallery), 1.0))
            cluster = recall_at(ranks.cluster, k, renumber_clusters(clusters))
            chance = _compute_cluster_chance(counts, len(gallery), k)
            cells[f"{split}_cluster_{k}"] = make_estimate(ratio_interval(cluster), chance)
    return cells


def _number_caption_clusters(dataset: Dataset) -> NDArray[np.int64]:
    """Return the cluster number of each caption (G,); -1 if the cluster has no image."""
    numbers = dict(zip(dataset.column("cluster_id"), dataset.clusters.tolist(), strict=True))
    return np.array([numbers.get(name, -1) for name in dataset.captions["cluster_id"].to_pylist()], dtype=np.int64)


def _select_gallery(dataset: Dataset, caption_clusters: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """Return the rows of captions.parquet that belong to clusters of a split."""
    return np.flatnonzero(np.isin(caption_clusters, dataset.clusters[dataset.column("split") == split]))


def _find_own_captions(
    dataset: Dataset, caption_clusters: NDArray[np.int64], gallery: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each row the place in the gallery of the caption that it was made from; -1 if it is not there."""
    caption_indices = dataset.captions["caption_index"].to_numpy()[gallery]
    places = {key: place for place, key in enumerate(zip(caption_clusters[gallery], caption_indices, strict=True))}
    keys = zip(dataset.clusters[rows], dataset.column("caption_index")[rows], strict=True)
    return np.array([places.get(key, -1) for key in keys], np.int64)


def _find_first_captions(clusters: NDArray[np.int64], gallery_clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each cluster (Q,), all of which have captions, the place in the gallery of its first caption."""
    order = np.argsort(gallery_clusters, kind="stable")
    places: NDArray[np.int64] = order[np.searchsorted(gallery_clusters, clusters, sorter=order)]
    return places


def _compute_cluster_chance(counts: NDArray[np.int64], total: int, k: int) -> float:
    """Return the mean intra-cluster R@k in a random order of `total` captions.

    `counts` (Q,) says how many of them are of the cluster of each query.
    """
    missed = np.ones(len(counts))
    for place in range(min(k, total)):  # the probability that the captions up to this place are of other clusters
        missed *= np.maximum(total - counts - place, 0) / (total - place)
    return float(1 - missed.mean())
