"""Caption retrieval (section 4.2, Table 3): where a query's captions stand among all captions of the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from changeling.stats.metrics import Floats, Ints, Ratio
from changeling.stats.vectors import check_directions, l2_normalize

BLOCK_SIZE = 96  # queries at a time: their similarities to 25,000 captions take 10 MB
TIE_TOLERANCE = 1e-6  # similarities that differ by less are ties: a matrix product rounds equal rows unequally


@dataclass(frozen=True, slots=True)
class Ranks:
    """For each query, 1 + how many captions that are no hit stand above or beside its best hit (Q,)."""

    exact: Ints  # a hit is the query's own caption
    cluster: Ints  # a hit is any caption of the query's cluster


def retrieval_ranks(
    queries: Floats | NDArray[np.float32],
    gallery: Floats | NDArray[np.float32],
    own_captions: Ints,
    gallery_clusters: Ints,
) -> Ranks:
    """Exact ranks by cosine similarity, ties settled against the query; the full matrix is never held.

    Args:
        queries: features of children, float (Q, D).
        gallery: features of all captions of the split, float (G, D).
        own_captions: row of the gallery that holds each query's caption, int64 (Q,).
        gallery_clusters: cluster of each caption, int64 (G,).

    Raises:
        FeatureError: a feature is not finite, or all zeros: neither is near or far from anything.
    """
    check_directions(queries, "images' features")
    check_directions(gallery, "captions' features")
    order = np.argsort(gallery_clusters, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    captions = np.ascontiguousarray(l2_normalize(gallery.astype(np.float32))[0][order].T)
    own, sorted_clusters = place[own_captions], gallery_clusters[order]
    first = np.searchsorted(sorted_clusters, sorted_clusters[own], "left")
    size = np.searchsorted(sorted_clusters, sorted_clusters[own], "right") - first
    images = l2_normalize(queries.astype(np.float32))[0]
    exact, cluster = np.empty(len(images), dtype=np.int64), np.empty(len(images), dtype=np.int64)
    similarity = np.empty((BLOCK_SIZE, captions.shape[1]), dtype=np.float32)
    above = np.empty(captions.shape[1], dtype=np.bool_)
    for start in range(0, len(images), BLOCK_SIZE):
        block = images[start : start + BLOCK_SIZE]
        np.matmul(block, captions, out=similarity[: len(block)])
        for row, query in zip(similarity, range(start, start + len(block)), strict=False):
            own_cluster = row[first[query] : first[query] + size[query]]
            to_own, best = row[own[query]] - np.float32(TIE_TOLERANCE), own_cluster.max() - np.float32(TIE_TOLERANCE)
            exact[query] = np.count_nonzero(np.greater_equal(row, to_own, out=above))  # counts its own caption
            if best > to_own:
                np.greater_equal(row, best, out=above)
            cluster[query] = 1 + np.count_nonzero(above) - np.count_nonzero(own_cluster >= best)
    return Ranks(exact, cluster)


def recall_at(ranks: Ints, k: int, clusters: Ints) -> Ratio:
    """R@k: share of queries with a rank of at most k; one hit a query (section 4.2).

    Args:
        ranks: from `retrieval_ranks`, int64 (Q,).
        k: how many captions are looked at, at least 1.
        clusters: cluster of each query, int64 (Q,) in [0, C).
    """
    hits = np.bincount(clusters, ranks <= k).astype(np.float64)
    return Ratio(hits, np.bincount(clusters).astype(np.float64), len(ranks))
