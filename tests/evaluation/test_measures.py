"""Metrics against scikit-learn and against definitions written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, roc_auc_score

from changeling.evaluation import measures
from changeling.evaluation.measures import METRICS, UNSURE, Metric, ScoredImages
from changeling.stats import metrics
from changeling.stats.intervals import clopper_pearson
from changeling.stats.metrics import Floats, Ints


def make_images(seed: int = 0, count: int = 120) -> ScoredImages:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    scores = np.round((0.3 * labels + draw.random(count)) / 1.3, 2)  # with ties
    predictions = (scores > 0.5).astype(np.int64)
    return ScoredImages(labels, np.arange(count) // 3, scores, predictions, are_probabilities=True)


def measure(key: str, images: ScoredImages) -> float:
    interval = next(metric for metric in METRICS if metric.key == key).measure(images)
    assert interval is not None
    assert interval.low <= interval.value <= interval.high
    return interval.value


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_those_of_scikit_learn(seed: int) -> None:
    images = make_images(seed)
    labels, scores = images.labels, images.scores
    assert measure("auroc", images) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert measure("average_precision", images) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert measure("balanced_accuracy", images) == pytest.approx(
        balanced_accuracy_score(labels, images.predictions), abs=1e-12
    )
    assert measure("brier_score", images) == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_the_value_of_a_metric_is_the_one_in_its_interval(metric: Metric) -> None:
    images = make_images(5)
    assert metric.compute(images) == pytest.approx(measure(metric.key, images), abs=1e-12)
    undecided = replace(images, predictions=None, are_probabilities=False)
    assert math.isnan(metric.compute(undecided)) == (metric.measure(undecided) is None)


def test_images_are_selected_with_all_that_is_known_of_them() -> None:
    images = make_images(6, count=9)
    selected = images.select(np.array([4, 4, 0]))
    assert selected.scores.tolist() == [images.scores[4], images.scores[4], images.scores[0]]
    assert selected.predictions is not None
    assert images.predictions is not None
    assert selected.predictions.tolist() == images.predictions[[4, 4, 0]].tolist()
    assert selected.clusters.tolist() == [1, 1, 0]


def test_auroc_and_accuracies_equal_their_definitions() -> None:
    images = make_images(4, count=40)
    fakes, reals = images.scores[images.labels == 1], images.scores[images.labels == 0]
    wins = sum((fake > real) + 0.5 * (fake == real) for fake in fakes for real in reals)
    assert measure("auroc", images) == pytest.approx(wins / (len(fakes) * len(reals)))
    assert measure("accuracy_real", images) == pytest.approx(sum(score <= 0.5 for score in reals) / len(reals))
    assert measure("accuracy_fake", images) == pytest.approx(sum(score > 0.5 for score in fakes) / len(fakes))


def test_the_true_positive_rate_is_that_at_the_highest_false_positive_rate_allowed() -> None:
    labels = np.repeat([0, 1], 40)
    scores = np.concatenate([np.arange(40) / 100, np.arange(20, 60) / 100])
    images = ScoredImages(labels, np.arange(80), scores, None, are_probabilities=True)
    assert measure("tpr_at_5", images) == pytest.approx(22 / 40)  # above 0.37, which two real images exceed
    assert measure("tpr_at_1", images) == pytest.approx(20 / 40)


def test_a_true_positive_rate_of_one_is_as_uncertain_as_few_real_images_make_it() -> None:
    labels = np.repeat([0, 1], [5, 200])
    images = ScoredImages(labels, np.arange(205), labels.astype(np.float64), None, are_probabilities=True)
    interval = measures.measure_true_positive_rate(images, 0.01)
    assert interval is not None
    assert interval.low == pytest.approx(clopper_pearson(5, 5)[0])


def test_the_calibration_error_is_the_gap_of_each_bin() -> None:
    scores, labels = np.repeat([0.15, 0.95], [60, 40]), np.zeros(100, np.int64)
    labels[:30], labels[60:] = 1, 1
    images = ScoredImages(labels, np.arange(100), scores, None, are_probabilities=True)
    assert measure("calibration_error", images) == pytest.approx(0.6 * 0.35 + 0.4 * 0.05)


def test_the_interval_of_a_small_calibration_error_contains_it() -> None:
    draw = np.random.default_rng(3)
    scores = draw.random(60)
    images = ScoredImages(
        (draw.random(60) < scores).astype(np.int64), np.arange(60), scores, None, are_probabilities=True
    )
    interval = measures.measure_calibration_error(images)
    assert interval is not None
    assert 0 <= interval.low < interval.value <= interval.high <= 1


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=30))
def test_average_precision_is_the_mean_precision_at_each_fake(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in pairs], np.int64)
    scores = np.array([score for _, score in pairs], np.float64)
    value = metrics.average_precision(labels, scores)
    if not labels.any():
        assert np.isnan(value)
        return
    precisions = [labels[scores >= score].mean() for score in scores[labels == 1]]
    assert value == pytest.approx(np.mean(precisions))


def test_an_unsure_image_is_neither_correct_nor_decided() -> None:
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, UNSURE, UNSURE, 1])
    images = ScoredImages(labels, np.arange(4), np.array([0.1, 0.4, 0.6, 0.9]), predictions, are_probabilities=True)
    assert measure("balanced_accuracy", images) == 0.5
    assert measure("abstention", images) == 0.5


def test_scores_that_are_no_probabilities_have_no_calibration_and_without_threshold_no_accuracy() -> None:
    images = ScoredImages(np.array([0, 1]), np.arange(2), np.array([-3.0, 4.0]), None, are_probabilities=False)
    missing = {metric.key for metric in METRICS if metric.measure(images) is None}
    assert missing == {
        "balanced_accuracy",
        "accuracy_real",
        "accuracy_fake",
        "calibration_error",
        "brier_score",
        "abstention",
    }


def test_the_difference_of_balanced_accuracies_is_paired() -> None:
    labels = np.tile([0, 1], 50)
    shared_errors = np.arange(100) % 5 == 0
    first = make_predicted(labels, np.where(shared_errors, 1 - labels, labels))
    second = make_predicted(labels, np.where(shared_errors | (np.arange(100) == 1), 1 - labels, labels))
    difference = measures.compare_balanced_accuracies(first, second)
    single = measures.measure_balanced_accuracy(first)
    assert difference is not None
    assert single is not None
    assert difference.value == pytest.approx(0.01)
    assert difference.high - difference.low < 0.5 * (single.high - single.low)


def make_predicted(labels: Ints, predictions: Ints) -> ScoredImages:
    scores: Floats = predictions.astype(np.float64)
    return ScoredImages(labels, np.arange(len(labels)), scores, predictions, are_probabilities=True)
