"""L2-regularised logistic regression, solved to its optimum: the fit behind every linear probe."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

TOLERANCE = 1e-8  # of the gradient and the Newton decrement of the mean loss; 1e-4 leaves some labels to chance
MAX_NEWTON_SIZE = 2e11  # images x D^2; a Newton step beyond it takes a CPU longer than hundreds of L-BFGS steps
MIN_THREADED_SIZE = 1e10  # images x D^2; in smaller fits, threads wait for each other longer than they compute
_MAX_ITERATIONS = 3000


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted logistic regression: the log-odds of label 1 are `features @ weight + bias`, `weight` being (D,)."""

    weight: NDArray[np.float64]
    bias: float
    is_converged: bool

    def predict_scores(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log-odds of label 1 (N,) of features (N, D)."""
        scores: NDArray[np.float64] = features @ self.weight + self.bias
        return scores


def fit_logistic_regressions(
    features: NDArray[Any], labels: NDArray[np.int64], grid: Iterable[float]
) -> dict[float, LogisticFit]:
    """Fit a logistic regression with balanced class weights for each C of a grid, in its order.

    Newton's method needs a few steps whatever the condition number of the features. L-BFGS may need thousands, and is
    used only where a Newton step is too expensive. A fit that has not reached its optimum says so. With fewer images
    than dimensions, the optimum lies in the span of the images (the representer theorem) and is sought there.

    Args:
        features: (N, D).
        labels: 0 or 1 (N,), both of which occur.
        grid: values of C, the inverse regularisation strength; each fit starts from the one before.
    """
    basis, inputs = None, np.asarray(features, np.float64)
    if inputs.shape[0] < inputs.shape[1]:
        basis, triangle = np.linalg.qr(inputs.T)
        inputs = triangle.T
    size = len(inputs) * inputs.shape[1] ** 2
    model = LogisticRegression(
        solver="newton-cholesky" if size <= MAX_NEWTON_SIZE else "lbfgs",
        tol=TOLERANCE,
        max_iter=_MAX_ITERATIONS,
        class_weight="balanced",
        warm_start=True,
    )
    fits = {}
    with threadpool_limits(1 if size < MIN_THREADED_SIZE else None):
        for c in grid:
            is_converged = fit_model(model.set_params(C=c), inputs, labels)
            weight = model.coef_[0].copy() if basis is None else basis @ model.coef_[0]
            fits[c] = LogisticFit(weight, float(model.intercept_[0]), is_converged)
    return fits


def fit_model(
    model: LogisticRegression | MLPClassifier, inputs: NDArray[Any], labels: NDArray[np.int64], **options: Any
) -> bool:
    """Fit a model of scikit-learn, and return whether it has converged. Other warnings are passed on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(inputs, labels, **options)
    is_converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            is_converged = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return is_converged
