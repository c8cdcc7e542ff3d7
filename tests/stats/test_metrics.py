"""The metrics against hand-worked examples and against a slow implementation written another way."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from changeling.errors import FeatureError
from changeling.stats import metrics

REAL, FAKE = 0, 1


def test_accuracies_of_a_worked_example() -> None:
    # two clusters: one parent and two children, all right; one parent (wrong) and one child (right)
    labels = np.array([REAL, FAKE, FAKE, REAL, FAKE])
    called = np.array([REAL, FAKE, FAKE, FAKE, FAKE])
    clusters = np.array([0, 0, 0, 1, 1])
    assert metrics.overall_accuracy(labels, called, clusters).value == pytest.approx(4 / 5)
    assert metrics.full_cluster_accuracy(labels, called, clusters).value == pytest.approx(1 / 2)
    assert metrics.recall(labels, called, clusters, REAL).value == pytest.approx(1 / 2)
    assert metrics.recall(labels, called, clusters, FAKE).value == pytest.approx(1.0)


def test_always_fake_scores_five_sixths_with_five_children() -> None:
    labels = np.tile([REAL, FAKE, FAKE, FAKE, FAKE, FAKE], 10)
    called = np.full(60, FAKE)
    assert metrics.overall_accuracy(labels, called, np.repeat(np.arange(10), 6)).value == pytest.approx(5 / 6)


def test_distances_of_a_worked_example() -> None:
    # on a line at 0 (parent), 1 and 2: mean distances 1.5, 1.0, 1.5: the parent ties for largest, which is no hit
    line = np.array([[0.0], [1.0], [2.0]])
    labels, clusters = np.array([REAL, FAKE, FAKE]), np.zeros(3, np.int64)
    smallest, largest = metrics.distance_accuracies(line, labels, clusters, "l2")
    assert (smallest.value, largest.value) == (0.0, 0.0)
    # the parent in the middle is the nearest to all
    smallest, largest = metrics.distance_accuracies(line, labels[[1, 0, 2]], clusters, "l2")
    assert (smallest.value, largest.value) == (1.0, 0.0)
    # moved away, it is the farthest
    smallest, largest = metrics.distance_accuracies(np.array([[-9.0], [1.0], [2.0]]), labels, clusters, "l2")
    assert (smallest.value, largest.value) == (0.0, 1.0)


def test_clusters_without_a_parent_or_with_one_child_do_not_count() -> None:
    features = np.random.default_rng(0).normal(size=(7, 4))
    labels = np.array([REAL, FAKE, FAKE, FAKE, FAKE, REAL, FAKE])
    clusters = np.array([0, 0, 0, 1, 1, 2, 2])
    smallest, largest = metrics.distance_accuracies(features, labels, clusters)
    assert smallest.denominator.tolist() == largest.denominator.tolist() == [1, 0, 0]
    assert smallest.images == 3


def test_exact_copies_are_ties_and_no_hits() -> None:
    features = np.ones((4, 3), np.float32)
    smallest, largest = metrics.distance_accuracies(features, np.array([0, 1, 1, 1]), np.zeros(4, np.int64))
    assert (smallest.value, largest.value) == (0.0, 0.0)


def test_a_parent_with_a_copy_among_its_children_is_no_hit() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(200), 6)
    labels = np.tile([FAKE, REAL, FAKE, FAKE, FAKE, FAKE], 200)
    features = rng.normal(size=(200, 6, 128)).astype(np.float32)
    features[:, 5] = features[:, 1]  # the parent
    features[::2, [0, 2, 3, 4]] = features[::2, :1] + 0.1 * features[::2, [0, 2, 3, 4]]  # both are far from the others
    smallest, largest = metrics.distance_accuracies(features.reshape(1200, 128), labels, clusters)
    assert (smallest.value, largest.value) == (0.0, 0.0)


@st.composite
def clustered(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Features, labels and clusters of random, uneven sizes, shuffled."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels, clusters = [], []
    for cluster, children in enumerate(sizes):
        parents = draw(st.integers(0, 1)) if children else 1
        labels += [REAL] * parents + [FAKE] * children
        clusters += [cluster] * (parents + children)
    order = rng.permutation(len(labels))
    return rng.normal(size=(len(labels), 6)), np.array(labels)[order], np.array(clusters)[order]


@given(clustered(), st.sampled_from(["cosine", "l2"]))
def test_distances_equal_a_slow_implementation(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]], distance: metrics.Distance
) -> None:
    features, labels, clusters = drawn

    def between(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        if distance == "l2":
            return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5)
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return float(1 - dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)

    nearest = farthest = counted = 0
    for cluster in set(clusters.tolist()):
        members = [i for i in range(len(labels)) if clusters[i] == cluster]
        parents = [i for i in members if labels[i] == REAL]
        if len(parents) != 1 or len(members) < 3:
            continue
        total = dict.fromkeys(members, 0.0)
        for i, j in combinations(members, 2):
            total[i] += between(features[i], features[j])
            total[j] += between(features[i], features[j])
        counted += 1
        others = [total[i] for i in members if i != parents[0]]
        nearest += total[parents[0]] < min(others)
        farthest += total[parents[0]] > max(others)
    smallest, largest = metrics.distance_accuracies(features, labels, clusters, distance)
    assert (smallest.numerator.sum(), largest.numerator.sum()) == (nearest, farthest)
    assert smallest.denominator.sum() == largest.denominator.sum() == counted


@given(clustered(), st.integers(0, 2**32 - 1))
def test_accuracies_equal_a_slow_implementation(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]], seed: int
) -> None:
    _, labels, clusters = drawn
    called = np.random.default_rng(seed).integers(0, 2, len(labels))
    right = {c: [labels[i] == called[i] for i in range(len(labels)) if clusters[i] == c] for c in set(clusters)}
    full = sum(all(some) for some in right.values()) / len(right)
    overall = sum(map(sum, right.values())) / len(labels)
    assert metrics.full_cluster_accuracy(labels, called, clusters).value == pytest.approx(full)
    assert metrics.overall_accuracy(labels, called, clusters).value == pytest.approx(overall)
    for label in (REAL, FAKE):
        mine = [called[i] == label for i in range(len(labels)) if labels[i] == label]
        value = metrics.recall(labels, called, clusters, label).value
        assert value == pytest.approx(sum(mine) / len(mine) if mine else float("nan"), nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, int]]) -> None:
    labels, scores = np.array([p[0] for p in pairs]), np.array([float(p[1]) for p in pairs])
    fakes, reals = scores[labels == 1], scores[labels == 0]
    if not len(fakes) or not len(reals):
        assert np.isnan(metrics.auroc(labels, scores))
        return
    order = np.mean([(f > r) + (f == r) / 2 for f in fakes for r in reals])
    assert metrics.auroc(labels, scores) == pytest.approx(order)
    assert metrics.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    weights = np.random.default_rng(len(pairs)).integers(0, 3, (5, len(pairs))).astype(float)
    for got, drawn in zip(metrics.weighted_auroc(labels, scores, weights), weights, strict=True):
        repeated = np.repeat(np.arange(len(pairs)), drawn.astype(int))
        assert got == pytest.approx(metrics.auroc(labels[repeated], scores[repeated]), nan_ok=True)


def test_threshold_lets_no_more_through_than_asked() -> None:
    reals = np.arange(100.0)
    for rate in (0.0, 0.01, 0.05, 0.5):
        assert (reals > metrics.threshold_at(reals, rate)).mean() == pytest.approx(rate)
    labels = np.r_[np.zeros(100, int), np.ones(4, int)]
    scores = np.r_[reals, [93.5, 94.5, 98.5, 200.0]]
    assert metrics.true_positive_rate(labels, scores, 0.05) == pytest.approx(3 / 4)
    assert metrics.true_positive_rate(labels, scores, 0.01) == pytest.approx(2 / 4)


def test_the_mean_distance_can_be_taken_to_the_fakes_only() -> None:
    # to the others: parent (1 + 4) / 2, children (1 + 3) / 2 and (4 + 3) / 2; to the fakes: (1 + 4) / 2, 3 and 3
    line, labels, clusters = np.array([[0.0], [1.0], [4.0]]), np.array([0, 1, 1]), np.zeros(3, np.int64)
    smallest, largest = metrics.distance_accuracies(line, labels, clusters, "l2")
    assert (smallest.value, largest.value) == (0, 0)
    smallest, largest = metrics.distance_accuracies(line, labels, clusters, "l2", to="fakes")
    assert (smallest.value, largest.value) == (1, 0)


@pytest.mark.parametrize(
    ("value", "distance", "message"),
    [
        (np.nan, "cosine", "not finite"),
        (np.nan, "l2", "not finite"),
        (-np.inf, "l2", "not finite"),
        (0, "cosine", "zero"),
    ],
)
def test_a_distance_that_is_not_defined_is_an_error(value: float, distance: metrics.Distance, message: str) -> None:
    features = np.random.default_rng(0).normal(size=(6, 4))
    features[2] = value
    with pytest.raises(FeatureError, match=f"row 2 of the images' features .*{message}"):
        metrics.distance_accuracies(features, np.tile([0, 1, 1], 2), np.repeat([0, 1], 3), distance)


def test_zeros_have_an_l2_distance() -> None:
    features = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])  # mean distances 5, 2.5 and 2.5
    smallest, largest = metrics.distance_accuracies(features, np.array([REAL, FAKE, FAKE]), np.zeros(3, np.int64), "l2")
    assert (smallest.value, largest.value) == (0.0, 1.0)


def test_a_label_or_a_cluster_without_images_counts_nothing() -> None:
    labels, clusters = np.array([FAKE, FAKE, FAKE]), np.array([0, 2, 2])  # nothing of cluster 1
    real = metrics.recall(labels, labels, clusters, REAL)
    assert np.isnan(real.value)
    assert (real.denominator.tolist(), real.images) == ([0, 0, 0], 0)
    full = metrics.full_cluster_accuracy(labels, labels, clusters)
    assert (full.value, full.denominator.tolist()) == (1.0, [1, 0, 1])
    assert metrics.overall_accuracy(labels, 1 - labels, clusters).value == 0
    nearest, farthest = metrics.distance_accuracies(np.eye(3), labels, clusters)
    assert np.isnan([nearest.value, farthest.value]).all()


def test_a_score_that_is_nan_gives_nan() -> None:
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.0, np.nan, 2.0, 3.0])
    assert np.isnan(metrics.auroc(labels, scores))
    assert np.isnan(metrics.weighted_auroc(labels, scores, np.ones((2, 4)))).all()
    assert np.isnan(metrics.true_positive_rate(labels, scores, 0.5))
    assert np.isnan(metrics.true_positive_rate(np.ones(4, np.int64), scores, 0.5))


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    st.lists(st.integers(-3, 3), min_size=1, max_size=10),
    st.integers(0, 100),
)
def test_threshold_is_the_smallest_real_score_that_few_enough_reals_exceed(
    reals: list[int], fakes: list[int], percent: int
) -> None:
    fine = [candidate for candidate in reals if 100 * sum(score > candidate for score in reals) <= percent * len(reals)]
    assert metrics.threshold_at(np.array(reals, float), percent / 100) == min(fine)
    labels, scores = np.repeat([REAL, FAKE], [len(reals), len(fakes)]), np.array(reals + fakes, float)
    expected = sum(score > min(fine) for score in fakes) / len(fakes)
    assert metrics.true_positive_rate(labels, scores, percent / 100) == pytest.approx(expected)
