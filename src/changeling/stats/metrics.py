"""The paper's metrics (section 4.2) and the ones that stand beside them.

Labels are 0 for real and 1 for fake; `clusters` gives each image's cluster as an integer in [0, C). Most
functions return a `Ratio`: a numerator and a denominator a cluster, so that the metric is the quotient of the
sums and can be resampled by cluster without touching the images again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from changeling.stats.vectors import check_directions, check_finite

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Distance = Literal["cosine", "l2"]
DistanceTo = Literal["others", "fakes"]
TIE_TOLERANCE = 1e-12  # distances that differ by less are ties: a matrix product rounds equal rows unequally


@dataclass(frozen=True, slots=True)
class Ratio:
    """A metric as sum(numerator) / sum(denominator) over clusters; both (C,). `images` is what it rests on."""

    numerator: Floats
    denominator: Floats
    images: int

    @property
    def value(self) -> float:
        """The metric; NaN if nothing counts."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total else float("nan")


def overall_accuracy(labels: Ints, predictions: Ints, clusters: Ints) -> Ratio:
    """Share of images that are correctly called real or fake (section 4.2)."""
    correct = (labels == predictions).astype(np.float64)
    return Ratio(_sums(clusters, correct), _sums(clusters), len(labels))


def full_cluster_accuracy(labels: Ints, predictions: Ints, clusters: Ints) -> Ratio:
    """Share of clusters in which every image is correctly called (section 4.2)."""
    wrong = _sums(clusters, labels != predictions)
    present = _sums(clusters) > 0
    return Ratio((present & (wrong == 0)).astype(np.float64), present.astype(np.float64), len(labels))


def recall(labels: Ints, predictions: Ints, clusters: Ints, label: int) -> Ratio:
    """Share of the images of one label that are correctly called; balanced accuracy is the mean of both."""
    has_label = labels == label
    count = int(clusters.max()) + 1
    correct = _sums(clusters[has_label & (labels == predictions)], minlength=count)
    return Ratio(correct, _sums(clusters[has_label], minlength=count), int(has_label.sum()))


def distance_accuracies(
    features: Floats | NDArray[np.float32],
    labels: Ints,
    clusters: Ints,
    distance: Distance = "cosine",
    to: DistanceTo = "others",
) -> tuple[Ratio, Ratio]:
    """Min and max intra-cluster distance accuracy (section 4.2, Table 1).

    For each image of a cluster, its mean distance to the cluster's other images, or to its other fakes; the share of
    clusters in which the parent's is the smallest, and the largest. Clusters with one parent and two or more children
    count: with one child both distances are the same. A tie is no hit. To the other images, chance is 1 / (children +
    1); to the fakes there is no such level, because the parent's mean has one distance more than a child's.

    Args:
        features: float (N, D).
        labels, clusters: int64 (N,).
        distance: cosine, or L2 between the features as they are.
        to: the images of the cluster that the mean distance of each is taken to.

    Raises:
        FeatureError: a feature is not finite, or all zeros where the distance is cosine.
    """
    _check_comparable(features, distance)
    count = int(clusters.max()) + 1
    smallest, largest, counted = np.zeros(count), np.zeros(count), np.zeros(count)
    images = 0
    order = np.argsort(clusters, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1):
        parents = np.flatnonzero(labels[members] == 0)
        if len(parents) != 1 or len(members) < 3:
            continue
        is_target = (labels[members] == 1) | (to == "others")
        means = _compute_mean_distances(features[members], distance, is_target)
        parent, others = means[parents[0]], np.delete(means, parents[0])
        cluster = clusters[members[0]]
        tolerance = TIE_TOLERANCE * max(1.0, float(means.max()))
        smallest[cluster], largest[cluster] = parent < others.min() - tolerance, parent > others.max() + tolerance
        counted[cluster] = 1
        images += len(members)
    return Ratio(smallest, counted, images), Ratio(largest, counted, images)


def _check_comparable(features: Floats | NDArray[np.float32], distance: Distance) -> None:
    check = check_directions if distance == "cosine" else check_finite
    check(features, "images' features")


def _compute_mean_distances(
    features: Floats | NDArray[np.float32], distance: Distance, is_target: NDArray[np.bool_]
) -> Floats:
    """Mean distance of each row to the other rows in `is_target` (n,)."""
    rows = features.astype(np.float64)
    if distance == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        between = 1.0 - rows @ rows.T
    else:
        between = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    np.fill_diagonal(between, 0.0)
    means: Floats = between[:, is_target].sum(axis=1) / (is_target.sum() - is_target)
    return means


def auroc(labels: Ints, scores: Floats) -> float:
    """Probability that a fake scores above a real, ties counting half; NaN if a class is missing or a score is NaN."""
    fakes = int(labels.sum())
    reals = len(labels) - fakes
    if not fakes or not reals:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def weighted_auroc(labels: Ints, scores: Floats, weights: Floats) -> Floats:
    """`auroc` (B,) for each row of image weights (B, N), such as the counts of a bootstrap; NaN like `auroc`."""
    if np.isnan(scores).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    fakes = np.add.reduceat(weights[:, order] * (labels[order] == 1), starts, axis=1)
    reals = np.add.reduceat(weights[:, order] * (labels[order] == 0), starts, axis=1)
    below = np.cumsum(reals, axis=1) - reals
    pairs = fakes.sum(axis=1) * reals.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (fakes * (below + reals / 2)).sum(axis=1) / np.where(pairs > 0, pairs, np.nan)
    return area


def average_precision(labels: Ints, scores: Floats) -> float:
    """Mean precision over the fakes, from the highest score down; equal scores are one step.

    It is the sum over thresholds of (R_n - R_{n-1}) P_n, without interpolation (as in scikit-learn). NaN if there is no
    fake or a score is NaN.
    """
    fakes = int(labels.sum())
    if not fakes or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    is_last = np.r_[np.diff(scores[order]) != 0, True]  # of the images with the same score
    found = np.cumsum(labels[order] == 1)[is_last]
    precision = found / (np.flatnonzero(is_last) + 1)
    return float(np.diff(found, prepend=0) @ precision / fakes)


def brier_score(labels: Ints, probabilities: Floats, clusters: Ints) -> Ratio:
    """Mean squared distance of the probabilities (N,), in [0, 1], from the labels (Brier, 1950)."""
    return Ratio(_sums(clusters, (probabilities - labels) ** 2), _sums(clusters), len(labels))


def share_of(is_counted: NDArray[np.bool_], clusters: Ints) -> Ratio:
    """Share of the images (N,) that are counted."""
    return Ratio(_sums(clusters, is_counted), _sums(clusters), len(is_counted))


def true_positive_rate(labels: Ints, scores: Floats, false_positive_rate: float) -> float:
    """Share of fakes above the smallest threshold that at most `false_positive_rate` of the reals exceed.

    NaN if a class is missing or a score is NaN.
    """
    reals, fakes = scores[labels == 0], scores[labels == 1]
    if not len(reals) or not len(fakes) or np.isnan(scores).any():
        return float("nan")
    return float((fakes > threshold_at(reals, false_positive_rate)).mean())


def threshold_at(real_scores: Floats, false_positive_rate: float) -> float:
    """The smallest of the real scores (R,), finite and at least one, that at most this share of them exceeds."""
    ordered = np.sort(real_scores)[::-1]
    allowed = int(false_positive_rate * len(ordered) + 1e-9)  # 0.29 * 100 is a little below 29
    return float(ordered[min(allowed, len(ordered) - 1)])


def _sums(clusters: Ints, values: NDArray[Any] | None = None, minlength: int = 0) -> Floats:
    """Sum of `values`, or the number of images, in each cluster (C,)."""
    sums: Floats = np.bincount(clusters, values, minlength).astype(np.float64)
    return sums
