"""Intervals: what they cover, what they do where nothing varies, and that they repeat."""

import numpy as np
import pytest

from changeling.stats import intervals, metrics


def test_coverage_over_clusters_is_about_95_percent() -> None:
    # clusters whose six images are right or wrong together: a bootstrap over images would be far too narrow
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(60), 6)
    labels = np.tile([0, 1, 1, 1, 1, 1], 60)
    held = 0
    for trial in range(200):
        right = np.repeat(rng.random(60) < 0.7, 6)
        ratio = metrics.overall_accuracy(labels, np.where(right, labels, 1 - labels), clusters)
        interval = intervals.ratio_interval(ratio, seed=trial)
        held += interval.low <= 0.7 <= interval.high
    assert 0.90 <= held / 200 <= 0.985


def test_an_interval_repeats_bit_for_bit_and_depends_on_its_seed() -> None:
    ratio = metrics.Ratio(np.arange(40.0), np.full(40, 40.0), 1600)
    assert intervals.ratio_interval(ratio, seed=4) == intervals.ratio_interval(ratio, seed=4)
    assert intervals.ratio_interval(ratio, seed=4) != intervals.ratio_interval(ratio, seed=5)
    ratio = metrics.Ratio(np.array([1.0, 0.0, 3.0]), np.array([2.0, 2.0, 3.0]), 7)
    assert intervals.ratio_interval(ratio).value == pytest.approx(4 / 7)
    assert intervals.ratio_interval(ratio).clusters == 3


@pytest.mark.parametrize("hits", [0, 12])
def test_where_nothing_varies_the_interval_is_exact_and_not_a_point(hits: int) -> None:
    ratio = metrics.Ratio(np.full(12, hits / 12), np.ones(12), 72)
    interval = intervals.ratio_interval(ratio)
    assert interval.high - interval.low == pytest.approx(0.2646, abs=1e-3)  # Clopper and Pearson, 12 of 12
    assert interval.low <= interval.value <= interval.high


def test_always_fake_has_an_interval_too() -> None:
    labels, clusters = np.tile([0, 1, 1, 1, 1, 1], 30), np.repeat(np.arange(30), 6)
    called = np.ones(180, np.int64)
    overall = intervals.ratio_interval(metrics.overall_accuracy(labels, called, clusters))
    balanced = intervals.mean_interval(*(metrics.recall(labels, called, clusters, label) for label in (0, 1)))
    for interval, value in ((overall, 5 / 6), (balanced, 1 / 2)):
        assert interval.value == pytest.approx(value)
        assert interval.low < value - 0.05
        assert interval.high > value + 0.05


def test_any_statistic_over_clusters() -> None:
    values, clusters = np.repeat(np.random.default_rng(0).normal(size=200), 3), np.repeat(np.arange(200), 3)
    mean, low, high = intervals.bootstrap(lambda rows: float(values[rows].mean()), clusters)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 200**0.5, rel=0.15)
    assert intervals.bootstrap(lambda _: 1.0, clusters, trials=12)[1] == pytest.approx(0.7354, abs=1e-4)


def test_exact_interval_is_clopper_and_pearsons() -> None:
    assert intervals.exact_interval(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert intervals.exact_interval(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)


def test_auroc_interval_holds_the_truth_and_narrows_with_clusters() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (50, 1250):
        clusters, labels = np.repeat(np.arange(count), 2), np.tile([0, 1], count)
        interval = intervals.auroc_interval(labels, rng.normal(size=2 * count) + labels, clusters)
        assert interval.low <= 0.7602 <= interval.high  # the area between normals one deviation apart
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 3


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    labels, clusters = np.array([0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    called = np.array([0, 1, 0, 1, 1, 1])
    recalls = [metrics.recall(labels, called, clusters, label) for label in (0, 1)]
    interval = intervals.mean_interval(*recalls)
    assert interval.value == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert (interval.clusters, interval.images) == (2, 6)
    assert interval.low <= interval.value <= interval.high


def test_a_share_of_all_has_the_exact_interval_even_if_some_draws_differ() -> None:
    clusters = np.arange(400)
    labels = (clusters < 14).astype(np.int64)
    scores = np.where(labels == 1, 10.0, np.random.default_rng(0).normal(size=400))
    scores[0] = 2.5  # above all but the highest reals
    found, low, high = intervals.bootstrap(
        lambda i: metrics.true_positive_rate(labels[i], scores[i], 0.05), clusters, trials=14
    )
    assert (found, high) == (1.0, 1.0)
    assert low == pytest.approx(intervals.exact_interval(14, 14)[0])
