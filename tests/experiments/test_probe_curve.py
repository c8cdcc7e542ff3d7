"""The curve over C is at its optimum: a linear map that can be inverted hides nothing from a probe at large C."""

from dataclasses import replace

import numpy as np
import pytest

from changeling.datasets.dataset import Dataset
from changeling.experiments import logistic_regression, probe_curve
from changeling.experiments.base import Context
from changeling.experiments.probe_curve import C_GRID, build_curve_table, evaluate_probe_curve, plot_curves
from changeling.features.store import Features, load_features
from tests.experiments.conftest import Plant, store

DIM, LABELS = 128, {"Generator": "g0", "Backbone": "planted"}


def plant_wide(plant: Plant) -> tuple[Dataset, Features]:
    """Return a dataset with features of 128 dimensions in which a fake is recognisable by one of them."""
    dataset = plant(style=0.0, clusters=1600, children=1)
    values = np.random.default_rng(0).normal(size=(len(dataset), DIM))
    values[:, 0] += 1.5 * dataset.labels
    store(dataset, "planted", values.astype(np.float32))
    return dataset, load_features(dataset, "planted")


def test_a_map_of_condition_18000_that_can_be_inverted_hides_nothing_at_large_c(plant: Plant) -> None:
    dataset, features = plant_wide(plant)
    scales = np.geomspace(1 / 1.8e4, 1, DIM)  # style has the smallest
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))
    shrunk = replace(features, values=(features.values * scales @ rotation).astype(np.float32))
    curve = evaluate_probe_curve(Context(dataset, []), {"raw features": features, "S": shrunk}, LABELS)
    raw, s = (curve.linear[space][-1].value for space in ("raw features", "S"))
    assert raw > 0.7
    assert curve.linear["S"][C_GRID.index(1.0)].value < 0.6
    assert s > 0.68
    assert not curve.unconverged
    assert "converged" not in build_curve_table([curve])[0].note
    assert not plot_curves([curve])[0].note


def test_probes_that_have_not_converged_are_marked(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic_regression, "_MAX_ITERATIONS", 1)
    monkeypatch.setattr(probe_curve, "MAX_EPOCHS", 1)
    dataset, features = plant_wide(plant)
    curve = evaluate_probe_curve(Context(dataset, []), {"S": features}, LABELS)
    assert {"S at C = 1e+06", "non-linear on S"} <= set(curve.unconverged)
    marked = "Not converged, and not to be interpreted: S at C = "
    assert marked in build_curve_table([curve])[0].note
    assert marked in plot_curves([curve])[0].note
