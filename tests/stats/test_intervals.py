"""Intervals hold the truth as often as they say, also near 0 and 1, and repeat."""

import numpy as np
import pytest
from benchmarks import coverage
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from changeling.stats import intervals, metrics
from changeling.stats.cluster_statistics import as_statistic, auroc_statistic, combine_seeds, ratio_statistic
from changeling.stats.metrics import Ints


@pytest.mark.parametrize(
    ("metric", "value", "clusters", "shared"),
    [
        ("overall accuracy", 0.99, 50, 0.4),
        ("overall accuracy", 0.7, 60, 0.8),
        ("overall accuracy", 0.95, 50, 0.8),
        ("recall of fakes, R@k", 0.01, 12, 0.4),
        ("balanced accuracy", 0.95, 12, 0.0),
        ("balanced accuracy", 0.99, 50, 0.4),
        ("balanced, unequal recalls", 0.8, 50, 0.8),
        ("AUROC", 0.99, 50, 0.4),
        ("AUROC", 0.8, 12, 0.4),
        ("difference of accuracies", 0.8, 50, 0.4),
        ("difference of AUROCs", 0.95, 50, 0.4),
        ("accuracy over 5 seeds", 0.5, 300, 0.4),
    ],
)
def test_intervals_hold_the_truth_in_95_percent_of_trials(
    metric: str, value: float, clusters: int, shared: float
) -> None:
    case = coverage.CASES[metric]
    drawn = coverage.samples(300, clusters, shared)
    held, _ = coverage.coverage(case.after, value, case.truth(value, clusters, shared), drawn)
    assert held >= 91.5  # nearly three standard errors below 95
    if clusters > 12 and 0.05 < value < 0.95:
        assert held <= 98.5  # where errors are many, a wider interval is a loss


@pytest.mark.parametrize(
    ("metric", "value", "clusters", "shared"),
    [("overall accuracy", 0.95, 50, 0.8), ("balanced accuracy", 0.95, 12, 0.0), ("AUROC", 0.99, 50, 0.4)],
)
def test_a_percentile_bootstrap_holds_it_less_often(metric: str, value: float, clusters: int, shared: float) -> None:
    case = coverage.CASES[metric]
    assert case.before is not None
    drawn = coverage.samples(100, clusters, shared)
    assert coverage.coverage(case.before, value, case.truth(value, clusters, shared), drawn)[0] < 92


@given(st.integers(1, 400), st.data())
def test_a_share_of_clusters_is_exact(clusters: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, clusters))
    ratio = metrics.Ratio(np.r_[np.ones(hits), np.zeros(clusters - hits), 0.0], np.r_[np.ones(clusters), 0.0], clusters)
    interval = intervals.ratio_interval(ratio)
    expected = binomtest(hits, clusters).proportion_ci(method="exact")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert interval.clusters == clusters


@pytest.mark.parametrize("images", [1, 4])
def test_an_error_does_not_raise_the_lower_end_or_give_a_zero(images: int) -> None:
    """One hit in 12 clusters once had a lower end of 0 and a narrower interval than no hit."""
    clusters = 12
    none, one = (
        intervals.ratio_interval(
            metrics.Ratio(np.r_[float(hits), np.zeros(clusters - 1)], np.full(clusters, float(images)), 0)
        )
        for hits in (0, images)
    )
    assert none.low == 0 < one.low
    assert one.high - one.low > none.high - none.low


def test_images_that_are_right_together_count_as_one() -> None:
    right = np.repeat([1.0, 0.0], [30, 20])
    alike = intervals.ratio_interval(metrics.Ratio(right * 6, np.full(50, 6.0), 300))
    alone = intervals.ratio_interval(metrics.Ratio(right, np.ones(50), 50))
    assert alike.high - alike.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_effective_size_without_correlation_is_the_number_of_images() -> None:
    rng = np.random.default_rng(0)
    ratio = metrics.Ratio(rng.binomial(5, 0.7, 4000).astype(float), np.full(4000, 5.0), 20_000)
    interval = intervals.ratio_interval(ratio)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * (0.21 / 20_000) ** 0.5, rel=0.05)


def test_no_cluster_gives_no_interval_and_one_says_almost_nothing() -> None:
    none = intervals.ratio_interval(metrics.Ratio(np.zeros(3), np.zeros(3), 0))
    assert np.isnan([none.value, none.low, none.high]).all()
    assert none.clusters == 0
    one = intervals.ratio_interval(metrics.Ratio(np.array([4.0]), np.array([5.0]), 5))
    assert one.low < 0.05
    assert one.high > 0.95


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30),
)
def test_ends_enclose_the_value_and_stay_in_range(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    count = max(len(one), len(two))
    first, second = (np.array(pairs + [(0, 0)] * (count - len(pairs)), np.float64) for pairs in (one, two))
    ratios = [metrics.Ratio(pairs.min(axis=1), pairs.max(axis=1), 0) for pairs in (first, second)]
    for interval, bottom in (
        (intervals.ratio_interval(ratios[0]), 0),
        (intervals.mean_interval(*ratios), 0),
        (intervals.difference_interval(*ratios), -1),
    ):
        ends = (interval.low, interval.value, interval.high)
        assert np.isnan(ends).all() or bottom <= ends[0] <= ends[1] + 1e-12 <= ends[2] + 2e-12 <= 1 + 3e-12


def test_always_fake_has_an_interval_too() -> None:
    labels, clusters = np.tile([0, 1, 1, 1, 1, 1], 30), np.repeat(np.arange(30), 6)
    predictions = np.ones(180, np.int64)
    overall = intervals.ratio_interval(metrics.overall_accuracy(labels, predictions, clusters))
    recalls = [metrics.recall(labels, predictions, clusters, label) for label in (0, 1)]
    balanced = intervals.mean_interval(*recalls)
    for interval, value in ((overall, 5 / 6), (balanced, 1 / 2)):
        assert interval.value == pytest.approx(value)
        assert interval.low < value - 0.03
        assert interval.high > value + 0.03


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    labels, clusters = np.array([0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    predictions = np.array([0, 1, 0, 1, 1, 1])
    recalls = [metrics.recall(labels, predictions, clusters, label) for label in (0, 1)]
    interval = intervals.mean_interval(*recalls)
    assert interval.value == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert (interval.clusters, interval.images) == (2, 6)


def test_balanced_accuracy_rests_on_the_clusters_of_either_label() -> None:
    labels, clusters = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2])  # a parent alone, and a child alone
    recalls = [metrics.recall(labels, labels, clusters, label) for label in (0, 1)]
    assert intervals.mean_interval(*recalls).clusters == 3


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((200, 5)) < 0.8
    first, second = right.sum(axis=1).astype(float), (right & (rng.random((200, 5)) < 0.97)).sum(axis=1).astype(float)
    total = np.full(200, 5.0)
    paired = intervals.difference_interval(metrics.Ratio(first, total, 1000), metrics.Ratio(second, total, 1000))
    shuffled = metrics.Ratio(rng.permutation(second), total, 1000)
    unpaired = intervals.difference_interval(metrics.Ratio(first, total, 1000), shuffled)
    assert paired.low > 0
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_differences_are_antisymmetric_and_zero_with_itself() -> None:
    rng = np.random.default_rng(0)
    labels, clusters = np.tile([0, 1, 1], 40), np.repeat(np.arange(40), 3)
    first, second = (auroc_statistic(labels, rng.normal(size=120) + shift * labels, clusters) for shift in (1, 2))
    forth, back = intervals.difference_interval(first, second), intervals.difference_interval(second, first)
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))
    own = intervals.difference_interval(first, first)
    assert own.value == 0
    assert own.low <= 0 <= own.high
    assert own.high - own.low < 0.2 * (forth.high - forth.low)


def test_a_difference_of_other_clusters_is_refused() -> None:
    ratios = [metrics.Ratio(np.ones(count), np.ones(count), count) for count in (3, 4)]
    with pytest.raises(ValueError, match="different clusters"):
        intervals.difference_interval(*ratios)
    with pytest.raises(ValueError, match="different clusters"):
        combine_seeds(ratios)
    with pytest.raises(ValueError, match="at least one"):
        combine_seeds([])


def test_auroc_variance_is_that_of_a_jackknife_over_clusters() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 7, 80)
    clusters = np.repeat(np.arange(80), sizes)
    labels = np.concatenate([np.r_[0, np.ones(size - 1, int)] for size in sizes])
    scores = np.round(rng.normal(size=80)[clusters] + rng.normal(size=len(clusters)) + labels, 1)
    statistic = auroc_statistic(labels, scores, clusters * 7 - 3)  # any integers
    left_out = [metrics.auroc(labels[clusters != c], scores[clusters != c]) for c in range(80)]
    assert statistic.value == pytest.approx(metrics.auroc(labels, scores))
    assert statistic.variance == pytest.approx(79 * np.var(left_out), rel=0.05)


def test_auroc_without_a_class_has_no_interval_and_of_separate_classes_one_below_1() -> None:
    clusters = np.repeat(np.arange(20), 2)
    missing = intervals.auroc_interval(np.ones(40, np.int64), np.arange(40.0), clusters)
    assert np.isnan([missing.value, missing.low, missing.high]).all()
    labels = np.tile([0, 1], 20)
    perfect = intervals.auroc_interval(labels, labels.astype(float), clusters)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert 0.85 < perfect.low < 0.98


def test_auroc_interval_narrows_with_clusters() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (50, 1250):
        clusters, labels = np.repeat(np.arange(count), 2), np.tile([0, 1], count)
        interval = intervals.auroc_interval(labels, rng.normal(size=2 * count) + labels, clusters)
        assert interval.low <= 0.7602 <= interval.high  # the area between normals one deviation apart
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 3


def test_one_seed_changes_nothing_and_seeds_that_differ_widen() -> None:
    rng = np.random.default_rng(0)
    total = np.full(100, 5.0)
    runs = [metrics.Ratio(rng.binomial(5, p, 100).astype(float), total, 500) for p in (0.7, 0.8, 0.9)]
    one, all_seeds = combine_seeds(runs[:1]), combine_seeds(runs)
    assert one is not None
    assert intervals.statistic_interval(one) == intervals.statistic_interval(ratio_statistic(runs[0]))
    assert all_seeds.value == pytest.approx(np.mean([run.value for run in runs]))
    within = as_statistic(runs[0]).variance / 3
    between = np.var([run.value for run in runs], ddof=1) / 3
    assert all_seeds.variance == pytest.approx(within + between, rel=0.1)
    same = combine_seeds([runs[0]] * 3)
    assert same.variance == pytest.approx(as_statistic(runs[0]).variance)  # the same images three times over


def test_a_bootstrap_draws_clusters_with_all_their_images() -> None:
    clusters = np.array([7, 2, 7, 4, 2, 7])
    drawn: list[tuple[int, ...]] = []

    def count(rows: Ints) -> float:
        drawn.append(tuple(np.bincount(rows, minlength=6).tolist()))
        return 0.0

    intervals.bootstrap(count, clusters, resamples=30)
    assert len(set(drawn)) > 5
    for a, b, c, d, e, f in drawn:
        assert a == c == f
        assert b == e
        assert a + b + d == 3


def test_any_statistic_over_clusters() -> None:
    values, clusters = np.repeat(np.random.default_rng(0).normal(size=200), 3), np.repeat(np.arange(200), 3)
    mean, low, high = intervals.bootstrap(lambda rows: float(values[rows].mean()), clusters)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 200**0.5, rel=0.15)
    assert intervals.bootstrap(lambda _: 1.0, clusters, trials=12)[1] == pytest.approx(0.7354, abs=1e-4)
    assert np.isnan(intervals.bootstrap(lambda _: float("nan"), clusters)).all()
    again = intervals.bootstrap(lambda rows: float(values[rows].mean()), clusters)
    assert again == (mean, low, high)
    assert intervals.bootstrap(lambda rows: float(values[rows].mean()), clusters, seed=1) != again


def test_a_share_of_all_has_the_exact_interval_even_if_some_draws_differ() -> None:
    clusters = np.arange(400)
    labels = (clusters < 14).astype(np.int64)
    scores = np.where(labels == 1, 10.0, np.random.default_rng(0).normal(size=400))
    scores[0] = 2.5  # above all but the highest reals
    found, low, high = intervals.bootstrap(
        lambda i: metrics.true_positive_rate(labels[i], scores[i], 0.05), clusters, trials=14
    )
    assert (found, high) == (1.0, 1.0)
    assert low == pytest.approx(intervals.clopper_pearson(14, 14)[0])
