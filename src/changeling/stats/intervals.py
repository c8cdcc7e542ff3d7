"""95 % intervals over clusters: images of a cluster are not independent (section 4.2).

A share of clusters has Clopper and Pearson's exact interval. What counts images (accuracies, recalls, R@k, AUROC) has
an interval from its effective sample size: the number of independent 0/1 trials that would vary as much (Korn and
Graubard, 1998, Survey Methodology 24; Franco et al., 2019, Journal of Survey Statistics and Methodology 7). Sums and
differences of these are combined by MOVER (Zou and Donner, 2008, Statistics in Medicine 27). All are deterministic;
only `bootstrap`, for any other statistic, draws. `benchmarks/coverage.py` measures how often they hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri
from scipy.stats import beta

from changeling.stats.cluster_statistics import ClusterStatistic, as_statistic, auroc_statistic
from changeling.stats.metrics import Floats, Ints, Ratio

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
_PRIOR = 0.25  # weight, in clusters, of the assumption that the images of a cluster are right and wrong together


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric with the ends of its 95 % interval, and the clusters and images it rests on; NaN if nothing counts."""

    value: float
    low: float
    high: float
    clusters: int
    images: int


def ratio_interval(ratio: Ratio) -> Interval:
    """Interval of a `Ratio`: exact if every cluster counts as one 0 or 1, else from its effective sample size."""
    counted = ratio.denominator > 0
    if not counted.any() or not _is_binary(ratio.numerator[counted], ratio.denominator[counted]):
        return statistic_interval(ratio)
    clusters = int(counted.sum())
    low, high = clopper_pearson(float(ratio.numerator.sum()), clusters)
    return Interval(ratio.value, low, high, clusters, ratio.images)


def auroc_interval(labels: Ints, scores: Floats, clusters: Ints) -> Interval:
    """AUROC with its interval. Shapes as for `auroc_statistic`; NaN if a class is missing."""
    return statistic_interval(auroc_statistic(labels, scores, clusters))


def statistic_interval(statistic: Ratio | ClusterStatistic) -> Interval:
    """Interval of one statistic from its effective sample size, such as one of several seeds (`combine_seeds`)."""
    statistic = as_statistic(statistic)
    low, high = _effective_size_limits(statistic)
    return Interval(statistic.value, low, high, statistic.clusters, statistic.images)


def mean_interval(first: Ratio | ClusterStatistic, second: Ratio | ClusterStatistic) -> Interval:
    """The mean of two statistics of different images of the same clusters: balanced accuracy from two recalls.

    Raises ValueError if they are of different clusters.
    """
    mean = combination_interval((first, second), (0.5, 0.5))
    images = as_statistic(first).images + as_statistic(second).images
    return Interval(mean.value, mean.low, mean.high, mean.clusters, images)


def difference_interval(first: Ratio | ClusterStatistic, second: Ratio | ClusterStatistic) -> Interval:
    """The paired difference `first - second` of two statistics of the same images, in [-1, 1].

    Use `auroc_statistic` for the difference of two AUROCs. Raises ValueError if they are of different clusters.
    """
    return combination_interval((first, second), (1.0, -1.0))


def combination_interval(statistics: Sequence[Ratio | ClusterStatistic], weights: Sequence[float]) -> Interval:
    """A weighted sum of statistics of the same clusters, such as a difference of two balanced accuracies.

    MOVER: the distance of each end from the sum is put together from the distances of the ends of each statistic's own
    interval, with the correlations of their sampling errors over clusters (Zou and Donner, 2008; for two it is method
    10 of Newcombe, 1998, Statistics in Medicine 17, with the correlation estimated over clusters).

    Args:
        statistics: of the same clusters, in the same order.
        weights: one a statistic.

    Raises:
        ValueError: the statistics are of different clusters.
    """
    parts = [as_statistic(statistic) for statistic in statistics]
    if len({len(part.influence) for part in parts}) > 1:
        raise ValueError("the statistics are of different clusters")
    signs, sizes = np.sign(weights), np.abs(weights)
    value = float(np.dot(weights, [part.value for part in parts]))
    below, above = np.array([_distances(part) for part in parts]).T
    correlations = _correlations(np.array([part.influence for part in parts])) * np.outer(signs, signs)
    reach = [
        float(np.sqrt(max(steps @ correlations @ steps, 0.0)))
        for steps in (sizes * np.where(signs > 0, below, above), sizes * np.where(signs > 0, above, below))
    ]
    bounds = float(np.minimum(weights, 0).sum()), float(np.maximum(weights, 0).sum())
    low, high = np.clip([value - reach[0], value + reach[1]], *bounds)
    clusters = int(np.any([part.is_counted for part in parts], axis=0).sum())
    return Interval(value, float(low), float(high), clusters, max(part.images for part in parts))


def bootstrap(
    statistic: Callable[[Ints], float],
    clusters: Ints,
    *,
    trials: int = 0,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Any statistic of images with its percentile interval over clusters: for what is neither a ratio nor an AUROC.

    Near 0 and 1 it is too narrow, as every percentile bootstrap is.

    Args:
        statistic: row numbers (with repeats) -> the number; NaN does not count.
        clusters: of each image (N,).
        trials: the number of clusters that an exact interval rests on where nothing varies, or the value is 0 or 1;
            by default all.
        resamples: how often clusters are drawn with replacement.
        seed: of the draws.

    Returns:
        The value and both ends of its interval.
    """
    value = statistic(np.arange(len(clusters)))
    if np.isnan(value):
        return value, float("nan"), float("nan")
    low, high = _draw_percentiles(statistic, clusters, resamples, seed, default=value)
    if high - low < 1e-12 or value in (0.0, 1.0):
        counted = trials or len(np.unique(clusters))
        return (value, *clopper_pearson(value * counted, counted))
    return value, low, high


def basic_bootstrap(
    statistic: Callable[[Ints], float], clusters: Ints, *, resamples: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """A statistic in [0, 1] that is biased, with its basic interval: the percentiles of the draws about the value.

    Resamples are biased once more, as the calibration error, which is never negative, is upwards: a percentile interval
    may lie above the value (Davison and Hinkley, 1997, Bootstrap Methods and their Application, section 5.2). The ends
    are cut to [0, 1], and the value is between them.

    Args, returns:
        As for `bootstrap`.
    """
    value = statistic(np.arange(len(clusters)))
    if np.isnan(value):
        return value, float("nan"), float("nan")
    low, high = _draw_percentiles(statistic, clusters, resamples, seed, default=value)
    if high - low < 1e-12:
        counted = len(np.unique(clusters))
        return (value, *clopper_pearson(value * counted, counted))
    return value, float(np.clip(2 * value - high, 0, value)), float(np.clip(2 * value - low, value, 1))


def _draw_percentiles(
    statistic: Callable[[Ints], float], clusters: Ints, resamples: int, seed: int, default: float
) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the statistic over resampled clusters; `default` if none is finite."""
    generator = np.random.default_rng(seed)
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(clusters[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])

    def draw_rows() -> Ints:
        drawn = generator.integers(0, len(starts), len(starts))
        ends = np.cumsum(sizes[drawn])
        places = np.arange(ends[-1]) + np.repeat(starts[drawn] - ends + sizes[drawn], sizes[drawn])
        rows: Ints = order[places]
        return rows

    draws = np.array([statistic(draw_rows()) for _ in range(resamples)])
    draws = draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [100 * _TAIL, 100 * (1 - _TAIL)]) if len(draws) else (default, default)
    return float(low), float(high)


def clopper_pearson(hits: float, trials: int) -> tuple[float, float]:
    """Exact interval of a binomial share (Clopper and Pearson, 1934): it holds at least 95 % at any share."""
    low = float(beta.ppf(_TAIL, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - _TAIL, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def _effective_size_limits(statistic: ClusterStatistic) -> tuple[float, float]:
    """Jeffreys' interval (Brown, Cai and DasGupta, 2001, Statistical Science 16) at the effective sample size."""
    value = statistic.value
    if np.isnan(value):
        return float("nan"), float("nan")
    size = _effective_size(statistic)
    hits, misses = value * size, (1 - value) * size
    low = float(betaincinv(hits + 0.5, misses + 0.5, _TAIL)) if value > 0 else 0.0
    high = float(betaincinv(hits + 0.5, misses + 0.5, 1 - _TAIL)) if value < 1 else 1.0
    return min(low, value), max(high, value)


def _effective_size(statistic: ClusterStatistic) -> float:
    """The number of 0/1 trials whose share varies as much as the statistic.

    It is `value * (1 - value) / variance`, with two corrections. Near 0 and 1 few clusters hold an error, and the
    variance is hardly known; so a quarter of one more cluster is added in which all images are wrong together. And the
    size is scaled for the degrees of freedom of the variance, as Korn and Graubard do.
    """
    spread, prior = statistic.value * (1 - statistic.value), _PRIOR / statistic.boundary_size
    size = min((spread + prior) / (statistic.variance + prior / statistic.boundary_size), statistic.max_size)
    return size * float(ndtri(1 - _TAIL) / statistic.quantile) ** 2


def _distances(statistic: ClusterStatistic) -> tuple[float, float]:
    low, high = _effective_size_limits(statistic)
    return statistic.value - low, high - statistic.value


def _correlations(influences: Floats) -> Floats:
    """Correlations of the sampling errors of K statistics (K, C) -> (K, K); 0 with one that does not vary."""
    covariances = influences @ influences.T
    deviations = np.sqrt(np.diag(covariances))
    scale = np.outer(deviations, deviations)
    correlations: Floats = np.divide(covariances, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(correlations, 1.0)
    return correlations


def _is_binary(numerator: Floats, denominator: Floats) -> bool:
    return bool((denominator == 1).all() and np.isin(numerator, (0.0, 1.0)).all())
