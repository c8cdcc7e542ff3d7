"""Contrastive losses: supervised (Eq. 5), the difference of two of them (Eq. 4), and of captions and images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from changeling.stats.metrics import Ints
from changeling.stats.vectors import Matrix


def supervised_contrastive_loss(features: Matrix, labels: Ints, temperature: float = 0.1) -> float:
    """Supervised contrastive loss (Eq. 5; Khosla et al., 2020), averaged over the anchors that have a positive.

    Args:
        features: float (N, D), of length 1.
        labels: int64 (N,); images of one label are each other's positives.
        temperature: what similarities are divided by.
    """
    similarity = np.asarray(features @ features.T, dtype=np.float64) / temperature
    np.fill_diagonal(similarity, -np.inf)
    positive = labels[:, None] == labels
    np.fill_diagonal(positive, val=False)
    counts = positive.sum(axis=1)
    anchors = counts > 0
    mean_positive = np.where(positive, similarity, 0.0).sum(axis=1)[anchors] / counts[anchors]
    return float((logsumexp(similarity, axis=1)[anchors] - mean_positive).mean())


def contrastive_loss_difference(
    features: Matrix, labels: Ints, clusters: Ints, temperature: float = 0.1
) -> tuple[float, Matrix]:
    """`L_fr - L_c` of Eq. 4 and its gradient (N, D), without a similarity matrix.

    The two terms share the denominator of Eq. 5, so that in their difference it cancels anchor by anchor: what is left
    is the mean similarity to the positives of each term, which sums of features give. That needs every anchor to have
    a positive in both, so: at least two real and two fake images, and two images of each cluster.

    Args:
        features: float (N, D), of length 1, each cluster's rows together.
        labels: 0 for real, 1 for fake, int64 (N,).
        clusters: int64 (N,), sorted.
        temperature: what similarities are divided by.

    Returns:
        The difference, and its gradient by `features`, of their dtype.
    """
    label_sizes = np.bincount(labels, minlength=2)
    class_term, class_gradient = _sum_positive_similarities(
        features, _sum_by_label(features, labels), labels, label_sizes
    )
    starts = np.flatnonzero(np.r_[True, np.diff(clusters) != 0])
    sizes = np.diff(np.r_[starts, len(clusters)])
    index = np.repeat(np.arange(len(starts)), sizes)
    cluster_sums = np.add.reduceat(features, starts)
    cluster_term, cluster_gradient = _sum_positive_similarities(features, cluster_sums, index, sizes)
    scale = 1 / (len(features) * temperature)
    return scale * (cluster_term - class_term), (scale * (cluster_gradient - class_gradient)).astype(features.dtype)


def contrastive_loss_bounds(clusters: float, images: float, temperature: float = 0.1) -> tuple[float, float]:
    """Lower bounds of `L_T = L_fr - L_c` and of `L_S = L_c - L_fr` on a batch of clusters with one real image each.

    T: let cluster c have n_c fakes, whose sum has the length n_c b_c, b_c <= 1. Its anchors pull each other by at least
    n_c b_c^2 - 2 b_c - 1, with equality if the real image is opposite the fakes. The class terms pull by at most
    C + (F sum(n_c b_c^2) - F) / (F - 1), with C clusters and F fakes in all (Cauchy-Schwarz). The difference falls with
    every b_c, and is -4 C at b_c = 1: all reals in one point, and all fakes in the opposite one.

    S: the cluster term is at most N, when every cluster collapses to a point. The class terms are at least
    -C / (C - 1) and -F / (F - 1), when the reals sum to zero, and the fakes, too.

    Args:
        clusters: C, at least two.
        images: N = C + F, with at least two fakes.
    """
    fakes = images - clusters
    pushed = clusters / (clusters - 1) + fakes / (fakes - 1)
    return -4 * clusters / (images * temperature), -(1 + pushed / images) / temperature


def symmetric_info_nce(captions: Matrix, images: Matrix, temperature: float) -> tuple[float, Matrix]:
    """Symmetric InfoNCE (Radford et al., 2021) of pairs of captions and images, and its gradient by `captions` (N, D).

    The mean of two cross-entropies: of finding the image of each caption among all images of the batch, and the caption
    of each image among all captions. It is log N if nothing can be found.

    Args:
        captions: float (N, D), of length 1; row i belongs to row i of `images`.
        images: float (N, D), of length 1.
        temperature: what similarities are divided by.
    """
    logits = captions @ images.T / temperature
    pairs = np.diagonal(logits)
    loss = (logsumexp(logits, axis=1) + logsumexp(logits, axis=0)).mean() / 2 - pairs.mean()
    weights = (softmax(logits, axis=1) + softmax(logits, axis=0)) / (2 * len(pairs))
    np.fill_diagonal(weights, np.diagonal(weights) - 1 / len(pairs))
    return float(loss), weights @ images / temperature


def _sum_by_label(features: Matrix, labels: Ints) -> Matrix:
    """The sums of the features of real and of fake images (2, D)."""
    fakes = labels.astype(features.dtype) @ features
    return np.stack([features.sum(axis=0) - fakes, fakes])


def _sum_positive_similarities(features: Matrix, sums: Matrix, index: Ints, sizes: Ints) -> tuple[float, Matrix]:
    """Sum over anchors of the mean similarity to their positives, and its gradient (N, D).

    `index` (N,) is each anchor's group, `sums` (G, D) and `sizes` (G,) are the groups' sums of features and sizes.
    """
    others = (sums[index] - features) / (sizes[index] - 1).astype(features.dtype)[:, None]
    return float(np.vdot(features, others)), 2 * others


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), on one matrix, in place.

    Attributes:
        first, second: the running moments, of the matrix's shape.
        steps: how many steps were taken.
    """

    def __init__(self, shape: tuple[int, int], *, lr: float, weight_decay: float) -> None:
        self.first, self.second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.steps = 0
        self.lr, self.weight_decay = lr, weight_decay

    def step(self, weight: NDArray[np.float32], gradient: NDArray[np.float32]) -> None:
        """Move `weight` against `gradient`, with betas 0.9 and 0.999."""
        self.steps += 1
        self.first += np.float32(0.1) * (gradient - self.first)
        self.second += np.float32(0.001) * (gradient * gradient - self.second)
        weight *= np.float32(1 - self.lr * self.weight_decay)
        root = np.sqrt(self.second / np.float32(1 - 0.999**self.steps)) + np.float32(1e-8)
        weight -= np.float32(self.lr / (1 - 0.9**self.steps)) * self.first / root
