"""Thresholds that hold on most new sources, where the images of a source are alike and sources differ.

The unit is the source, not the image: above a threshold chosen on pooled images, a new source can have many times the
error rate. So the threshold is a limit that most sources, also new ones, keep the error rate at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from changeling.stats.metrics import Floats, Ints

SHARE = 0.9  # of all sources, also new ones, that keep the error rate
CONFIDENCE = 0.95  # that this share is reached
RESAMPLES = 300

Names = Sequence[str] | NDArray[np.object_]


def source_threshold(scores: Floats, sources: Names, rate: float, *, share: float = SHARE, seed: int = 0) -> float:
    """Return a score that at most a share `rate` of the images exceeds, on at least `share` of all sources.

    The quantile `1 - rate` of each source is estimated, and the quantile `share` is taken over sources. This is
    repeated on sources that are drawn with replacement: the threshold is the quantile CONFIDENCE of the repetitions,
    so that it also holds if the sources at hand are easier than most.

    A source with a dozen images does not show its own 99 % quantile. So it is assumed that the images of all sources
    vary alike around the mean of their source. Means of few images vary more than the true ones do: they are shrunk
    toward the mean of all sources until their spread is that of the true means (constrained empirical Bayes; Louis,
    1984, Journal of the American Statistical Association 79). Where sources differ in how much their images vary, the
    confidence is nearer to 0.9.

    Args:
        scores: (N,), of images of one class.
        sources: (N,), the source of each image.
        rate: in (0, 1).
        share: in (0, 1).
        seed: of the draws.
    """
    groups = _group_scores(scores, sources)
    count = len(groups.sizes)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    limits = _weighted_quantiles(_estimate_quantiles(groups, draws, rate), draws, share)
    return float(np.quantile(limits, CONFIDENCE))


def tolerance_limit(values: Floats, share: float) -> float:
    """Return the smallest value (N,) that at least `share` of the population stays below, with CONFIDENCE.

    It is distribution-free (Wilks, 1941, Annals of Mathematical Statistics 12): the k-th smallest of N values exceeds
    the quantile `share` with the probability that a binomial count of N trials is below k. If there are too few values
    (fewer than 59 for a share of 0.95), it is the largest one.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    confidences = binom.cdf(np.arange(len(ordered)), len(ordered), share)  # of the smallest value, the second, ...
    return float(ordered[min(int(np.searchsorted(confidences, CONFIDENCE)), len(ordered) - 1)])


@dataclass(frozen=True, slots=True)
class _Groups:
    """Scores grouped by S sources, and the R residuals of images from the mean of their source, sorted."""

    sizes: Ints  # (S,)
    means: Floats  # (S,)
    squares: Floats  # (S,), sums of squared deviations
    residuals: Floats  # (R,), of sources with two images or more
    residual_sources: Ints  # (R,)


def _group_scores(scores: Floats, sources: Names) -> _Groups:
    values = np.asarray(scores, dtype=np.float64)
    _, index, sizes = np.unique(np.asarray(sources).astype(str), return_inverse=True, return_counts=True)
    means = np.bincount(index, values) / sizes
    deviations = values - means[index]
    selected = np.flatnonzero(sizes[index] > 1)
    # The mean of n images is nearer to them than the true one is: their deviations are too small.
    residuals = deviations[selected] * np.sqrt(sizes / np.maximum(sizes - 1, 1))[index[selected]]
    order = np.argsort(residuals, kind="stable")
    squares = np.asarray(np.bincount(index, deviations**2), dtype=np.float64)
    return _Groups(sizes, means, squares, residuals[order], index[selected][order])


def _estimate_quantiles(groups: _Groups, draws: Ints, rate: float) -> Floats:
    """Return the quantile of each source (D, S), estimated from D samples with each source `draws` (D, S) times."""
    shrunk = _shrink_means(groups, draws)
    if not len(groups.residuals):
        return shrunk
    weights = draws[:, groups.residual_sources] / groups.sizes[groups.residual_sources]  # each source has the same
    return shrunk + _weighted_quantiles(groups.residuals[None], weights, 1 - rate)[:, None]


def _shrink_means(groups: _Groups, draws: Ints) -> Floats:
    """Return the means of the sources (D, S), shrunk in each of the samples."""
    degrees_of_freedom = np.maximum(draws @ (groups.sizes - 1), 1)
    sampling = (draws @ groups.squares / degrees_of_freedom)[:, None] / groups.sizes  # variance of each mean (D, S)
    count = len(groups.sizes)
    center = (draws @ groups.means / count)[:, None]
    spread = (draws * (groups.means - center) ** 2).sum(axis=1) / max(count - 1, 1)
    between = np.maximum(spread - (draws * sampling).sum(axis=1) / count, 0.0)[:, None]
    factors = np.sqrt(between / np.maximum(between + sampling, np.finfo(np.float64).tiny))
    shrunk: Floats = center + (groups.means - center) * factors
    return shrunk


def _weighted_quantiles(values: Floats, weights: Floats | Ints, level: float) -> Floats:
    """Return the weighted quantile at `level` of each row of values (D or 1, N), with weights (D, N)."""
    order = np.argsort(values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    below = np.cumsum(np.take_along_axis(weights, np.broadcast_to(order, weights.shape), axis=1), axis=1)
    positions = (below < level * below[:, -1:] * (1 - 1e-12)).sum(axis=1)
    quantiles: Floats = np.broadcast_to(values, weights.shape)[np.arange(len(weights)), positions]
    return quantiles
