"""P-values agree with intervals and with Student's test, and Holm's correction with closed testing."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from changeling.stats.intervals import Interval
from changeling.stats.multiplicity import holm_adjusted, interval_p_value


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(1e-6, 1), st.integers(2, 500))
def test_a_p_value_is_below_5_percent_if_the_interval_does_not_contain_0(
    value: float, below: float, above: float, clusters: int
) -> None:
    difference = Interval(value, value - below, value + above, clusters, clusters)
    p_value = interval_p_value(difference)
    assert 0 <= p_value <= 1
    if p_value != pytest.approx(0.05):
        assert (p_value < 0.05) == (difference.low > 0 or difference.high < 0)


@pytest.mark.parametrize("shift", [-0.5, 0.1, 2.0])
def test_the_p_value_of_a_mean_is_that_of_students_test(shift: float) -> None:
    test = ttest_1samp(np.random.default_rng(0).normal(shift, 1, 12), 0)
    low, high = test.confidence_interval(0.95)
    assert interval_p_value(Interval((low + high) / 2, low, high, 12, 12)) == pytest.approx(test.pvalue)


def test_a_difference_without_variation_is_0_or_surely_not() -> None:
    assert interval_p_value(Interval(0.0, 0.0, 0.0, 5, 5)) == 1
    assert interval_p_value(Interval(0.2, 0.2, 0.2, 5, 5)) == 0


def test_holms_correction_of_four_p_values() -> None:
    assert holm_adjusted(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holms_correction_is_closed_testing_by_bonferroni(p_values: list[float]) -> None:
    """A hypothesis is as significant as the least significant of all intersections that it is part of."""
    members = range(len(p_values))
    intersections = [chosen for size in members for chosen in combinations(members, size + 1)]
    closed = [
        max(min(1, len(chosen) * min(p_values[i] for i in chosen)) for chosen in intersections if member in chosen)
        for member in members
    ]
    assert holm_adjusted(np.array(p_values, np.float64)) == pytest.approx(closed)
