"""How often 95 % intervals hold the truth, by metric, true value and number of clusters.

    python benchmarks/coverage.py [--trials 2000] [--old-trials 300]

Each trial draws new clusters, with one real image and one to five fakes each, and computes every interval. Images of a
cluster are right and wrong together: their latent scores share a part of their variance (0, 0.4 and 0.8; one table
each). Each cell has the coverage of the percentile bootstrap over clusters with 2,000 resamples, which the intervals
replaced, then that of the intervals, and their mean width. The standard error of a coverage of 95 % is 0.5 points with
2,000 trials, and 1.3 with 300.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from changeling.stats.cluster_statistics import auroc_statistic, combine_seeds
from changeling.stats.intervals import (
    Interval,
    auroc_interval,
    clopper_pearson,
    difference_interval,
    mean_interval,
    ratio_interval,
    statistic_interval,
)
from changeling.stats.metrics import Floats, Ints, Ratio, auroc, weighted_auroc

VALUES = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
CLUSTERS = (12, 50, 300)
SHARED = (0.0, 0.4, 0.8)
SEED_SPREAD = 0.15  # standard deviation of the latent difficulty that a training seed adds
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """Images of one trial.

    Attributes:
        clusters, labels: of each image (N,).
        noise: standard normal (R, N): R draws that share the clusters and, by half, the images' own part.
    """

    clusters: Ints
    labels: Ints
    noise: Floats

    def ratio(self, value: float, label: int | None = None, draw: int = 0) -> Ratio:
        """Share of images of a label that are right, each with probability `value`; of all images by default."""
        chosen = np.ones(len(self.labels), np.bool_) if label is None else self.labels == label
        right = self.noise[draw] < ndtri(value)
        count = int(self.clusters[-1]) + 1
        numerator, denominator = (
            np.bincount(self.clusters[rows], minlength=count) for rows in (chosen & right, chosen)
        )
        return Ratio(numerator.astype(np.float64), denominator.astype(np.float64), int(chosen.sum()))

    def scores(self, value: float, draw: int = 0) -> Floats:
        """Scores whose AUROC between clusters is `value`."""
        scores: Floats = self.noise[draw] + self.labels * np.sqrt(2) * ndtri(value)
        return scores


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: a metric's interval, before and now, and its expectation at (value, clusters, shared)."""

    after: Callable[[Sample, float], Ends]
    before: Callable[[Sample, float], Ends] | None = None
    truth: Callable[[float, int, float], float] = lambda value, _clusters, _shared: value


def draw_sample(rng: np.random.Generator, clusters: int, shared: float, draws: int = 5) -> Sample:
    """Clusters of two to six images: a real one and its fakes."""
    sizes = rng.integers(2, 7, clusters)
    index = np.repeat(np.arange(clusters), sizes)
    labels = np.ones(len(index), np.int64)
    labels[np.r_[0, np.cumsum(sizes)[:-1]]] = 0

    def noise(count: int) -> Floats:
        together = rng.normal(size=(count, clusters))[:, index]
        values: Floats = np.sqrt(shared) * together + np.sqrt(1 - shared) * rng.normal(size=(count, len(index)))
        return values

    return Sample(index, labels, np.sqrt(0.5) * noise(1) + np.sqrt(0.5) * noise(draws))


def balanced_recalls(sample: Sample, real: float, fake: float) -> tuple[Ratio, Ratio]:
    """Recalls of a classifier whose scores are shifted by cluster: where its fakes are found, its parent is not."""
    flipped = Sample(sample.clusters, sample.labels, np.where(sample.labels == 0, -sample.noise, sample.noise))
    return flipped.ratio(real, 0), flipped.ratio(fake, 1)


def seed_runs(sample: Sample, value: float, count: int) -> list[Ratio]:
    """Overall accuracies of several training seeds on the same clusters, each with a shift of its own.

    The expectation over seeds is `value`. The shifts are drawn from the sample itself, so that trials repeat.
    """
    rng = np.random.default_rng(int(abs(sample.noise[0, 0]) * 1e9))
    spread = np.sqrt(1 + SEED_SPREAD**2)
    shifts = rng.normal(size=count) * SEED_SPREAD
    return [sample.ratio(float(ndtr(ndtri(value) * spread + shift)), draw=draw) for draw, shift in enumerate(shifts)]


def percentile_ratio(ratio: Ratio) -> Ends:
    """Interval of a ratio as it was: a percentile bootstrap over clusters."""
    counted = ratio.denominator > 0
    weights = _weights(int(counted.sum()))
    draws = (weights @ ratio.numerator[counted]) / (weights @ ratio.denominator[counted])
    return percentiles(draws, ratio.value, int(counted.sum()))


def percentile_mean(first: Ratio, second: Ratio) -> Ends:
    """Interval of a mean of ratios as it was."""
    weights = _weights(len(first.numerator))
    with np.errstate(invalid="ignore"):
        shares = [(weights @ ratio.numerator) / (weights @ ratio.denominator) for ratio in (first, second)]
    return percentiles((shares[0] + shares[1]) / 2, (first.value + second.value) / 2, len(first.numerator))


def percentile_auroc(labels: Ints, scores: Floats, clusters: Ints) -> Ends:
    """Interval of an AUROC as it was."""
    count = int(clusters[-1]) + 1
    blocks = np.array_split(_weights(count), 20)
    draws = np.concatenate([weighted_auroc(labels, scores, block[:, clusters]) for block in blocks])
    return percentiles(draws, auroc(labels, scores), count)


def percentiles(draws: Floats, value: float, clusters: int) -> Ends:
    """The middle 95 % of the draws; where nothing varies or the value is 0 or 1, exact."""
    low, high = np.percentile(draws[np.isfinite(draws)], [2.5, 97.5])
    if high - low < 1e-12 or value in (0.0, 1.0):
        return clopper_pearson(value * clusters, clusters)
    return float(low), float(high)


@cache
def _weights(clusters: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), 2000).astype(np.float64)


def auroc_truth(value: float, clusters: int, shared: float) -> float:
    """Expected AUROC: one pair in `clusters` is of one cluster, whose images share a part of their scores."""
    within = float(ndtr(ndtri(value) / np.sqrt(1 - shared)))
    return value + (within - value) / clusters


def auroc_arguments(sample: Sample, value: float, draw: int = 0) -> tuple[Ints, Floats, Ints]:
    """Labels, scores and clusters."""
    return sample.labels, sample.scores(value, draw), sample.clusters


def ends(interval: Interval) -> Ends:
    """Both ends of an interval."""
    return interval.low, interval.high


def uneven(value: float) -> tuple[float, float]:
    """Recalls of real and fake images that are far apart, with the mean `value`."""
    gap = min(value - 0.005, 0.995 - value, 0.48)
    return value - gap, value + gap


def second(value: float) -> float:
    """The lower value of a difference."""
    return value - 0.6 * min(value, 1 - value)


CASES: dict[str, Case] = {
    "full cluster, min / max distance": Case(
        lambda s, v: ends(ratio_interval(s.ratio(v, 0))), lambda s, v: percentile_ratio(s.ratio(v, 0))
    ),
    "overall accuracy": Case(lambda s, v: ends(ratio_interval(s.ratio(v))), lambda s, v: percentile_ratio(s.ratio(v))),
    "recall of fakes, R@k": Case(
        lambda s, v: ends(ratio_interval(s.ratio(v, 1))), lambda s, v: percentile_ratio(s.ratio(v, 1))
    ),
    "balanced accuracy": Case(
        lambda s, v: ends(mean_interval(*balanced_recalls(s, v, v))),
        lambda s, v: percentile_mean(*balanced_recalls(s, v, v)),
    ),
    "balanced, unequal recalls": Case(
        lambda s, v: ends(mean_interval(*balanced_recalls(s, *uneven(v)))),
        lambda s, v: percentile_mean(*balanced_recalls(s, *uneven(v))),
    ),
    "AUROC": Case(
        lambda s, v: ends(auroc_interval(*auroc_arguments(s, v))),
        lambda s, v: percentile_auroc(*auroc_arguments(s, v)),
        auroc_truth,
    ),
    "difference of accuracies": Case(
        lambda s, v: ends(difference_interval(s.ratio(v), s.ratio(second(v), draw=1))),
        truth=lambda v, _clusters, _shared: v - second(v),
    ),
    "difference of full cluster": Case(
        lambda s, v: ends(difference_interval(s.ratio(v, 0), s.ratio(second(v), 0, draw=1))),
        truth=lambda v, _clusters, _shared: v - second(v),
    ),
    "difference of AUROCs": Case(
        lambda s, v: ends(
            difference_interval(
                auroc_statistic(*auroc_arguments(s, v)), auroc_statistic(*auroc_arguments(s, second(v), 1))
            )
        ),
        truth=lambda v, c, r: auroc_truth(v, c, r) - auroc_truth(second(v), c, r),
    ),
    "accuracy over 3 seeds": Case(lambda s, v: ends(statistic_interval(combine_seeds(seed_runs(s, v, 3))))),
    "accuracy over 5 seeds": Case(lambda s, v: ends(statistic_interval(combine_seeds(seed_runs(s, v, 5))))),
}


def samples(trials: int, clusters: int, shared: float) -> Iterator[Sample]:
    """The samples of all trials of a setting, always the same."""
    rng = np.random.default_rng(1)
    return (draw_sample(rng, clusters, shared) for _ in range(trials))


def coverage(
    interval: Callable[[Sample, float], Ends], value: float, truth: float, drawn: Iterator[Sample]
) -> tuple[float, float]:
    """Per cent of trials whose interval holds the truth, and its mean width."""
    found = np.array([interval(sample, value) for sample in drawn])
    held = (found[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= found[:, 1])
    return 100 * float(held.mean()), float((found[:, 1] - found[:, 0]).mean())


def main() -> None:
    """Print one table for each share of variance that images of a cluster have in common."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--old-trials", type=int, default=300)
    arguments = parser.parse_args()
    for shared in SHARED:
        print(f"\nshared variance {shared}: per cent of trials that hold the truth, before -> after (width after)")
        print(f"{'metric':34}{'value':>6}" + "".join(f"{f'{count} clusters':>23}" for count in CLUSTERS), flush=True)
        for name, case in CASES.items():
            for value in VALUES:
                cells = [_cell(case, value, count, shared, arguments) for count in CLUSTERS]
                print(f"{name:34}{value:6}" + "".join(f"{cell:>23}" for cell in cells), flush=True)


def _cell(case: Case, value: float, clusters: int, shared: float, arguments: argparse.Namespace) -> str:
    truth = case.truth(value, clusters, shared)
    held, width = coverage(case.after, value, truth, samples(arguments.trials, clusters, shared))
    if case.before is None or not arguments.old_trials:
        return f"{held:.1f} ({width:.3f})"
    before, _ = coverage(case.before, value, truth, samples(arguments.old_trials, clusters, shared))
    return f"{before:.1f} -> {held:.1f} ({width:.3f})"


if __name__ == "__main__":
    main()
