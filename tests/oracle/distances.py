"""Table 1: min and max intra-cluster distance accuracy, one cluster and one pair of images at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import distance

from tests.oracle.data import DIMS, Images
from tests.oracle.intervals import Cell, Ints, Sums, describe_share
from tests.oracle.rows import EVALUATED, ROW_GENERATORS, Rows, find_rows, list_members

TIE = 1e-10  # distances that differ by less are equal


def compute_distances(images: Images, metric: str, to: str) -> Rows:
    """Return the rows of Table 1."""
    return {
        (generator, backbone): {
            key: cell
            for split in EVALUATED
            for key, cell in describe_distances(
                images, images.values[backbone], find_rows(images, backbone, generator, split), split, metric, to
            ).items()
        }
        for generator in ROW_GENERATORS
        for backbone in DIMS
    }


def describe_distances(
    images: Images, values: NDArray[np.float32], rows: Ints, split: str, metric: str = "cosine", to: str = "others"
) -> dict[str, Cell]:
    """Return the min and max accuracy over the clusters of a parent and two children or more."""
    is_smallest, is_largest, sizes = [], [], []
    for members in list_members(images, rows):
        parents = np.flatnonzero(~images.is_child[members])
        if len(parents) != 1 or len(members) < 3:
            continue
        means = [
            _mean_distance(place, images.is_child[members], values[members].astype(np.float64), metric, to)
            for place in range(len(members))
        ]
        parent = means.pop(int(parents[0]))
        is_smallest.append(parent < min(means) - TIE)
        is_largest.append(parent > max(means) + TIE)
        sizes.append(len(members))
    chance = float(np.mean([1 / size for size in sizes])) if to == "others" else None
    return {
        f"{split}_{name}": describe_share(Sums(np.array(hits, np.float64), np.ones(len(hits)), sum(sizes)), chance)
        for name, hits in (("min", is_smallest), ("max", is_largest))
    }


def _mean_distance(
    place: int, is_child: NDArray[np.bool_], features: NDArray[np.float64], metric: str, to: str
) -> float:
    measure = {"cosine": distance.cosine, "l2": distance.euclidean}[metric]
    return float(
        np.mean(
            [
                measure(features[place], features[other])
                for other in range(len(features))
                if other != place and (to == "others" or is_child[other])
            ]
        )
    )
