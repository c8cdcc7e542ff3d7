"""95 % intervals over clusters, from the formulas that the documentation names."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Cell = dict[str, float | None]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sums:
    """A share as hits and trials of each cluster."""

    hits: Floats
    trials: Floats
    images: int

    @property
    def value(self) -> float:
        return float(self.hits.sum() / self.trials.sum())

    @property
    def errors(self) -> Floats:
        """How far each cluster moves the share (Cochran, 1977): their squares add up to its variance."""
        clusters = np.count_nonzero(self.trials)
        factor = sqrt(clusters / (clusters - 1)) if clusters > 1 else 1.0
        return np.asarray((self.hits - self.value * self.trials) / self.trials.sum() * factor)

    @property
    def limits(self) -> tuple[float, float]:
        trials = self.trials[self.trials > 0]
        return effective_limits(
            self.value, float((self.errors**2).sum()), count_independent(trials), trials.sum(), len(trials)
        )


def sum_by_cluster(is_hit: Bools, cluster: Ints, is_counted: Bools | None = None) -> Sums:
    """Count the hits and the trials of each cluster, in the order of clusters."""
    is_counted = np.ones(len(cluster), np.bool_) if is_counted is None else is_counted
    numbers = sorted(set(cluster.tolist()))
    trials = [np.sum(is_counted[cluster == number]) for number in numbers]
    hits = [np.sum((is_hit & is_counted)[cluster == number]) for number in numbers]
    return Sums(np.array(hits, np.float64), np.array(trials, np.float64), int(is_counted.sum()))


def describe_share(sums: Sums, chance: float | None = None) -> Cell:
    """Return a share with its interval: exact if each cluster is one trial (Clopper and Pearson, 1934)."""
    trials = sums.trials[sums.trials > 0]
    low, high = sums.limits
    if (trials == 1).all():
        exact = stats.binomtest(int(sums.hits.sum()), len(trials)).proportion_ci(0.95, "exact")
        low, high = exact.low, exact.high
    return make_cell(sums.value, low, high, len(trials), sums.images, chance)


def describe_mean(first: Sums, second: Sums, chance: float) -> Cell:
    """Return the mean of two shares of the same clusters, by MOVER (Zou and Donner, 2008)."""
    value = (first.value + second.value) / 2
    scale = sqrt((first.errors**2).sum() * (second.errors**2).sum())
    correlation = float(first.errors @ second.errors) / scale if scale else 0.0

    def reach(a: float, b: float) -> float:
        return sqrt(max(a**2 + b**2 + 2 * correlation * a * b, 0.0)) / 2

    low = value - reach(first.value - first.limits[0], second.value - second.limits[0])
    high = value + reach(first.limits[1] - first.value, second.limits[1] - second.value)
    clusters = int(np.count_nonzero(first.trials + second.trials))
    return make_cell(value, max(low, 0.0), min(high, 1.0), clusters, first.images + second.images, chance)


def describe_auroc(is_fake: Bools, scores: Floats, cluster: Ints) -> Cell:
    """Return the AUROC over all pairs with the clustered variance of Obuchowski (1997); near-equal scores are ties."""
    gaps = scores[is_fake][:, None] - scores[~is_fake]
    wins = np.where(np.abs(gaps) < 1e-9, 0.5, gaps > 0)
    value = float(wins.mean())
    numbers = sorted(set(cluster.tolist()))
    errors = [
        ((wins[cluster[is_fake] == number].mean(axis=1) - value).sum() / wins.shape[0])
        + ((wins[:, cluster[~is_fake] == number].mean(axis=0) - value).sum() / wins.shape[1])
        for number in numbers
    ]
    variance = float((np.array(errors) ** 2).sum()) * len(numbers) / (len(numbers) - 1)
    m, n = (
        count_independent(np.array([np.sum(cluster[side] == number) for number in numbers]))
        for side in (is_fake, ~is_fake)
    )
    low, high = effective_limits(value, variance, 4 * m * n / (m + n), np.inf, len(numbers))
    return make_cell(value, low, high, len(numbers), len(scores), 0.5)


def effective_limits(
    value: float, variance: float, boundary_size: float, most: float, clusters: int
) -> tuple[float, float]:
    """Return Jeffreys' interval at the effective sample size (Korn and Graubard, 1998).

    A quarter of a cluster that is wrong as a whole is added to the variance; `boundary_size` is the number of trials
    next to 0 and 1, and `most` the largest.
    """
    added = 0.25 / boundary_size
    size = min((value * (1 - value) + added) / (variance + added / boundary_size), most)
    size *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, max(clusters - 1, 1))) ** 2
    limits = stats.beta.ppf([0.025, 0.975], value * size + 0.5, (1 - value) * size + 0.5)
    low, high = 0.0 if value == 0 else float(limits[0]), 1.0 if value == 1 else float(limits[1])
    return min(low, value), max(high, value)


def count_independent(sizes: Floats | Ints) -> float:
    """Return how many clusters of equal size are worth as much as clusters of these sizes (Kish, 1965)."""
    return float(sizes.sum()) ** 2 / float((sizes.astype(np.float64) ** 2).sum())


def make_cell(value: float, low: float, high: float, clusters: int, images: int, chance: float | None = None) -> Cell:
    return {"value": value, "low": low, "high": high, "clusters": clusters, "images": images, "chance": chance}
