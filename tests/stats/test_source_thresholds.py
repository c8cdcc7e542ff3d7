"""Thresholds by source: the limits hold in as many simulated worlds as they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from changeling.stats.source_thresholds import CONFIDENCE, source_threshold, tolerance_limit

SIZES = np.array([150, 80, 40, 20] + [11] * 76)  # images of a source


def draw_world(rng: np.random.Generator, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of images of 80 sources, whose means differ by `spread`."""
    index = np.repeat(np.arange(len(SIZES)), SIZES)
    means = rng.normal(0, spread, len(SIZES)) if spread else np.zeros(len(SIZES))
    return means[index] + rng.normal(size=len(index)), index.astype(str).astype(object)


def share_of_sources(threshold: float, rate: float, spread: float) -> float:
    """The share of all sources of whose images, of which there are infinitely many, at most `rate` are above."""
    return float(norm.cdf((threshold - norm.isf(rate)) / spread))


def test_a_threshold_holds_on_nine_of_ten_new_sources_in_95_of_100_worlds() -> None:
    rng, worlds, spread, rate = np.random.default_rng(5), 200, 0.8, 0.01
    kept = sum(
        share_of_sources(source_threshold(*draw_world(rng, spread), rate, seed=world), rate, spread) >= 0.9
        for world in range(worlds)
    )
    # Within what 200 worlds show of a confidence between 93 and 97 %.
    assert binom.ppf(0.005, worlds, 0.93) <= kept <= binom.ppf(0.995, worlds, 0.97)


def test_a_pooled_threshold_breaks_the_promise() -> None:
    rng, spread = np.random.default_rng(6), 0.8
    shares = [share_of_sources(float(np.quantile(draw_world(rng, spread)[0], 0.99)), 0.01, spread) for _ in range(50)]
    assert np.mean(np.array(shares) < 0.9) > 0.9


@pytest.mark.parametrize(("count", "rank"), [(28, 28), (29, 29), (46, 45), (100, 96)])
def test_a_tolerance_limit_has_the_rank_of_the_published_tables(count: int, rank: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert tolerance_limit(values, 0.9) == rank
    reached = binom.cdf(rank - 1, count, 0.9)  # that the rank-th smallest of them exceeds the 90 % quantile
    assert reached >= CONFIDENCE or rank == count


def test_without_differences_between_sources_the_threshold_is_about_the_pooled_quantile() -> None:
    scores, sources = draw_world(np.random.default_rng(1), 0.0)
    pooled = norm.isf(0.05)
    assert pooled - 0.1 < source_threshold(scores, sources, 0.05) < pooled + 0.4


def test_of_sources_with_one_image_each_it_is_a_quantile_of_their_scores() -> None:
    scores = np.arange(100.0)
    threshold = source_threshold(scores, [str(score) for score in scores], 0.1)
    assert 90 <= threshold <= 96  # above 89, as the sources could be easier than most


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=40),
    st.floats(-3, 3),
    st.floats(0.5, 4),
    st.integers(1, 6),
)
def test_a_threshold_follows_a_shift_and_a_scale_of_the_scores(
    values: list[float], shift: float, scale: float, count: int
) -> None:
    scores, sources = np.array(values), [str(i % count) for i in range(len(values))]
    threshold = source_threshold(scores, sources, 0.1)
    moved = source_threshold(scale * scores + shift, sources, 0.1)
    assert moved == pytest.approx(scale * threshold + shift, abs=1e-5)


def test_the_lower_the_rate_the_higher_the_threshold() -> None:
    scores, sources = draw_world(np.random.default_rng(2), 0.8)
    thresholds = [source_threshold(scores, sources, rate) for rate in (0.001, 0.01, 0.05, 0.2)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[-1]
