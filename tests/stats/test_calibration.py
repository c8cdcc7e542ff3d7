"""Calibration: a known logistic map is found again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from changeling.stats.calibration import expected_calibration_error, fit_platt


def test_platt_finds_the_map_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50_000) * 40
    labels = (rng.random(50_000) < expit(0.05 * scores - 0.7)).astype(np.int64)
    platt = fit_platt(scores, labels)
    assert platt.slope == pytest.approx(0.05, rel=0.03)
    assert platt.bias == pytest.approx(-0.7, abs=0.05)
    assert expected_calibration_error(labels, platt(scores)) < 0.01


def test_weights_count_as_repeated_scores() -> None:
    scores, labels = np.array([-1.0, 0.5, 0.2, 2.0]), np.array([0, 0, 1, 1])
    weights = np.array([3.0, 1.0, 2.0, 1.0])
    repeated = np.repeat(np.arange(4), weights.astype(int))
    weighted, plain = fit_platt(scores, labels, weights), fit_platt(scores[repeated], labels[repeated])
    assert weighted(scores) == pytest.approx(plain(scores), abs=1e-4)


def test_overconfidence_is_a_calibration_error() -> None:
    labels = np.tile([0, 1], 500)
    assert expected_calibration_error(labels, np.full(1000, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(labels, np.full(1000, 0.5)) == pytest.approx(0.0)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=50), st.integers(1, 12))
def test_calibration_error_equals_a_slow_implementation(pairs: list[tuple[int, float]], bins: int) -> None:
    error = 0.0
    for number in range(bins):
        inside = [(y, p) for y, p in pairs if number == min(int(p * bins), bins - 1)]
        if inside:
            gap = sum(p for _, p in inside) / len(inside) - sum(y for y, _ in inside) / len(inside)
            error += abs(gap) * len(inside) / len(pairs)
    labels, probabilities = np.array([y for y, _ in pairs]), np.array([p for _, p in pairs])
    assert expected_calibration_error(labels, probabilities, bins) == pytest.approx(error, abs=1e-9)
