"""The fit behind every probe reaches the optimum, whatever the condition number, and says so if it does not."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from changeling.experiments import logistic_regression
from changeling.experiments.logistic_regression import LogisticFit, fit_logistic_regressions


def draw(images: int, dim: int, condition: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) whose directions have scales from 1 down to 1 / condition, and labels."""
    rng = np.random.default_rng(0)
    labels = (rng.random(images) < 0.3).astype(np.int64)
    features = rng.normal(size=(images, dim)) + 0.2 * labels[:, None]
    return features @ np.diag(np.geomspace(1, 1 / condition, dim)), labels


def compute_loss(parameters: np.ndarray, features: np.ndarray, labels: np.ndarray, c: float) -> float:
    """Return scikit-learn's objective over C and the number of images, with balanced class weights."""
    weight, bias = parameters[:-1], parameters[-1]
    scores = features @ weight + bias
    losses = np.logaddexp(0, np.where(labels == 1, -scores, scores))
    balance = len(labels) / (2 * np.bincount(labels))
    return float((balance[labels] * losses).mean() + weight @ weight / (2 * c * len(labels)))


def compute_gradient(parameters: np.ndarray, features: np.ndarray, labels: np.ndarray, c: float) -> np.ndarray:
    """Return the gradient of `compute_loss`."""
    scores = features @ parameters[:-1] + parameters[-1]
    balance = len(labels) / (2 * np.bincount(labels))
    residuals = balance[labels] * (1 / (1 + np.exp(-scores)) - labels) / len(labels)
    return np.append(features.T @ residuals + parameters[:-1] / (c * len(labels)), residuals.sum())


def as_parameters(fit: LogisticFit) -> np.ndarray:
    return np.append(fit.weight, fit.bias)


@pytest.mark.parametrize(("images", "dim"), [(300, 20), (30, 64)])
def test_the_gradient_vanishes_at_every_c(images: int, dim: int) -> None:
    features, labels = draw(images, dim)
    point = np.random.default_rng(1).normal(size=dim + 1)
    assert check_grad(compute_loss, compute_gradient, point, features, labels, 1.0) < 1e-5
    for c, fit in fit_logistic_regressions(features, labels, [1e-4, 1.0, 100.0]).items():
        assert fit.is_converged
        assert np.abs(compute_gradient(as_parameters(fit), features, labels, c)).max() < 1e-7


def test_a_linear_map_that_can_be_inverted_changes_nothing_without_regularisation() -> None:
    features, labels = draw(1000, 40)
    scaled, _ = draw(1000, 40, condition=1.8e4)
    (raw,) = fit_logistic_regressions(features, labels, [1e12]).values()
    (small,) = fit_logistic_regressions(scaled, labels, [1e12]).values()
    assert raw.predict_scores(features) == pytest.approx(small.predict_scores(scaled), abs=1e-3)


def test_a_fit_without_enough_iterations_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = draw(300, 20)
    monkeypatch.setattr(logistic_regression, "_MAX_ITERATIONS", 1)
    for size in (0, 2e11):  # L-BFGS, Newton
        monkeypatch.setattr(logistic_regression, "MAX_NEWTON_SIZE", size)
        assert not fit_logistic_regressions(features, labels, [1.0])[1.0].is_converged


def test_lbfgs_reaches_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = draw(300, 20)
    expected = fit_logistic_regressions(features, labels, [0.1, 10.0])
    monkeypatch.setattr(logistic_regression, "MAX_NEWTON_SIZE", 0)
    for c, fit in fit_logistic_regressions(features, labels, [0.1, 10.0]).items():
        assert fit.is_converged
        assert as_parameters(fit) == pytest.approx(as_parameters(expected[c]), abs=1e-4)
