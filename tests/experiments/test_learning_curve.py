"""The learning curve: nested draws of as many real images as children, and means over the draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from changeling.experiments.generator_probes import GeneratorProbes
from changeling.experiments.learning_curve import draw_training_rows, evaluate_learning_curve, list_sizes
from changeling.experiments.linear_probe import ProbeSettings, fit_probe_on_rows
from changeling.features.store import load_features
from tests.experiments.conftest import Plant, keep_images


@given(st.integers(1, 10**6))
def test_sizes_rise_to_all_clusters(clusters: int) -> None:
    sizes = list_sizes(clusters)
    assert sizes[-1] == clusters
    assert list(sizes) == sorted(set(sizes))


def test_a_draw_has_a_parent_and_a_child_of_each_cluster(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = np.flatnonzero(dataset.column("split") == "train")
    drawn = {size: draw_training_rows(dataset, rows, size, np.random.default_rng(3)) for size in (5, 20, 60)}
    for size, some in drawn.items():
        assert len(set(dataset.clusters[some])) == size
        assert np.bincount(np.unique(dataset.clusters[some], return_inverse=True)[1]).tolist() == [2] * size
        assert int(dataset.labels[some].sum()) == size
    assert set(dataset.clusters[drawn[5]]) < set(dataset.clusters[drawn[20]])
    other = draw_training_rows(dataset, rows, 5, np.random.default_rng(4))
    assert set(dataset.clusters[other]) != set(dataset.clusters[drawn[5]])


def test_single_images_are_drawn_in_equal_numbers(plant: Plant) -> None:
    dataset = plant(style=1.0, children=1)
    lone = keep_images(dataset, dataset.labels == dataset.clusters % 2)  # of each cluster the parent or the child
    rows = np.flatnonzero(lone.column("split") == "train")
    for size in (1, 10, 30):
        labels = lone.labels[draw_training_rows(lone, rows, size, np.random.default_rng(0))]
        assert (len(labels), int(labels.sum())) == (2 * size, size)


def test_points_are_means_over_draws(plant: Plant) -> None:
    dataset = plant(style=0.7, children=2)
    features = load_features(dataset, "planted")
    curve = evaluate_learning_curve(
        dataset, GeneratorProbes(dataset, features, ProbeSettings(C=0.1), 0), ["g0"], draws=3, seed=7
    )
    assert curve.sizes == (10, 30, 60)
    rows, test = (np.flatnonzero(dataset.column("split") == split) for split in ("train", "test"))
    for size, estimate in zip(curve.sizes, curve.estimates, strict=True):
        aurocs = []
        for draw in range(3):
            train = draw_training_rows(dataset, rows, size, np.random.default_rng([7, draw]))
            probe = fit_probe_on_rows(features.values, dataset.labels, train, train, c=0.1)
            aurocs.append(roc_auc_score(dataset.labels[test], probe.predict_scores(features.values[test])))
        assert estimate.value == pytest.approx(np.mean(aurocs))
        assert estimate.low < min(aurocs) or size > 10  # the draws differ, and are in the interval
        assert estimate.low < estimate.value < estimate.high
    assert curve.estimates[0].value < curve.estimates[-1].value
