"""Significance of several differences at once: p-values of 95 % intervals, and Holm's correction of p-values."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

from changeling.stats.intervals import LEVEL, Interval
from changeling.stats.metrics import Floats


def interval_p_value(difference: Interval) -> float:
    """Two-sided p-value of the hypothesis that a difference is 0, from its 95 % interval; NaN if it has none.

    It is below 0.05 if and only if the interval does not contain 0. The distance of the value from 0 is compared with
    the half of the interval that points to 0, in Student's t over clusters (Altman and Bland, 2011, BMJ 343:d2304, who
    take the normal distribution).
    """
    distance = abs(difference.value)
    reach = difference.value - difference.low if difference.value > 0 else difference.high - difference.value
    if reach == 0:
        return 0.0 if distance else 1.0
    freedom = max(difference.clusters - 1, 1)
    return float(2 * stdtr(freedom, -distance / reach * stdtrit(freedom, (1 + LEVEL) / 2)))


def holm_adjusted(p_values: Floats) -> Floats:
    """Adjust p-values for their number (Holm, 1979, Scandinavian Journal of Statistics 6), under any dependence.

    If all hypotheses with an adjusted p-value below 0.05 are rejected, a true one is among them in at most 5 % of such
    families.

    Args:
        p_values: float64 (N,), in [0, 1].

    Returns:
        Float64 (N,), in the same order.
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    stepwise = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepwise), 1)
    return adjusted
