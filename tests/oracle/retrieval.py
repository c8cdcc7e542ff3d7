"""Table 3: recall of captions, one child at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from tests.oracle.data import DIMS, Images
from tests.oracle.intervals import Cell, describe_share, sum_by_cluster
from tests.oracle.rows import EVALUATED, ROW_GENERATORS, Rows, find_rows

TIE = 1e-6  # similarities that differ by less are equal


def compute_retrieval(images: Images) -> Rows:
    """Return the rows of Table 3."""
    return {
        (generator, backbone): {
            key: cell
            for split in EVALUATED
            for key, cell in _describe_recall(images, backbone, generator, split).items()
        }
        for generator in ROW_GENERATORS
        for backbone in DIMS
    }


def _describe_recall(images: Images, backbone: str, generator: str, split: str) -> dict[str, Cell]:
    split_clusters = set(images.cluster[images.split == split].tolist())
    gallery = np.flatnonzero([cluster in split_clusters for cluster in images.caption_cluster.tolist()])
    caption_cluster, caption_index = images.caption_cluster[gallery], images.index_of_caption[gallery]
    captions = _normalise(images.caption_values[backbone][gallery])
    exact_ranks, cluster_ranks, exact_clusters, clusters, chances = [], [], [], [], []
    for row in find_rows(images, backbone, generator, split):
        is_hit = caption_cluster == images.cluster[row]
        if not images.is_child[row] or not is_hit.any():
            continue
        similarity = captions @ _normalise(images.values[backbone][row])
        is_own = is_hit & (caption_index == images.caption_index[row])
        cluster_ranks.append(_rank(similarity, is_hit))
        clusters.append(images.cluster[row])
        chances.append([1 - hypergeom.pmf(0, len(gallery), is_hit.sum(), k) for k in (1, 3, 5)])
        if is_own.any():
            exact_ranks.append(_rank(similarity, is_own))
            exact_clusters.append(images.cluster[row])
    cells = {}
    for k, chance in zip((1, 3, 5), np.mean(chances, axis=0).tolist(), strict=True):
        exact = sum_by_cluster(np.array(exact_ranks) <= k, np.array(exact_clusters))
        cells[f"{split}_exact_{k}"] = describe_share(exact, k / len(gallery))
        in_cluster = sum_by_cluster(np.array(cluster_ranks) <= k, np.array(clusters))
        cells[f"{split}_cluster_{k}"] = describe_share(in_cluster, chance)
    return cells


def _rank(similarity: NDArray[np.float64], is_hit: NDArray[np.bool_]) -> int:
    """Return the place of the best hit, behind all others that are as similar."""
    return 1 + int(np.sum(similarity[~is_hit] >= similarity[is_hit].max() - TIE))


def _normalise(features: NDArray[Any]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=-1, keepdims=True))
