"""95 % intervals from a bootstrap over clusters: images of a cluster are not independent (section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from changeling.stats.metrics import Floats, Ints, Ratio, auroc, weighted_auroc

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric with the ends of its 95 % interval, and the clusters and images it rests on."""

    value: float
    low: float
    high: float
    clusters: int
    images: int


def ratio_interval(ratio: Ratio, *, seed: int = 0) -> Interval:
    """Percentile bootstrap of a `Ratio` over clusters.

    Where that is a point, or the value is 0 or 1, it is Clopper and Pearson's exact one for as many clusters.
    """
    counts = ratio.denominator > 0
    numerator, denominator = ratio.numerator[counts], ratio.denominator[counts]
    clusters = len(numerator)
    if not clusters:
        return Interval(ratio.value, float("nan"), float("nan"), 0, ratio.images)
    weights = _weights(clusters, seed)
    low, high = _percentiles((weights @ numerator) / (weights @ denominator), ratio.value, clusters)
    return Interval(ratio.value, low, high, clusters, ratio.images)


def mean_interval(first: Ratio, second: Ratio, *, seed: int = 0) -> Interval:
    """The mean of two ratios over the same clusters, resampled together: balanced accuracy from two recalls."""
    counts = (first.denominator > 0) | (second.denominator > 0)
    clusters = int(counts.sum())
    value = (first.value + second.value) / 2
    weights = _weights(clusters, seed)
    with np.errstate(invalid="ignore"):
        draws = sum(
            (weights @ ratio.numerator[counts]) / (weights @ ratio.denominator[counts]) for ratio in (first, second)
        )
    low, high = _percentiles(np.asarray(draws) / 2, value, clusters)
    return Interval(value, low, high, clusters, first.images + second.images)


def auroc_interval(labels: Ints, scores: Floats, clusters: Ints, *, seed: int = 0) -> Interval:
    """AUROC with its bootstrap over clusters."""
    value = auroc(labels, scores)
    present, index = np.unique(clusters, return_inverse=True)
    draws = np.concatenate(
        [weighted_auroc(labels, scores, block[:, index]) for block in np.array_split(_weights(len(present), seed), 20)]
    )
    low, high = _percentiles(draws, value, len(present))
    return Interval(value, low, high, len(present), len(labels))


def bootstrap(
    statistic: Callable[[Ints], float],
    clusters: Ints,
    *,
    trials: int = 0,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Any statistic of image rows, with its percentile interval over clusters: for what is no ratio of sums.

    `statistic` gets row numbers (with repeats) and may return NaN, which does not count. `trials` is the number of
    clusters that an exact interval rests on where nothing varies; by default all.
    """
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    generator = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))]))
        for _ in range(resamples)
    ]
    value = statistic(np.arange(len(clusters)))
    return (value, *_percentiles(np.array(draws), value, clusters=trials or len(members)))


def exact_interval(hits: float, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a binomial share."""
    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def _weights(clusters: int, seed: int) -> NDArray[np.float64]:
    """How often each cluster is drawn in each resample (RESAMPLES, clusters)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(np.float64)


def _percentiles(draws: Floats, value: float, clusters: int) -> tuple[float, float]:
    """The middle 95 % of the draws that are numbers (a resample may lack a class); where that is a point, exact."""
    draws = draws[np.isfinite(draws)]
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [tail, 100 - tail]) if len(draws) else (value, value)
    if high - low < 1e-12 or value in (0.0, 1.0):
        return exact_interval(value * clusters, clusters)
    return float(low), float(high)
