"""From scores to probabilities, and how far to believe them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from changeling.stats.metrics import Floats, Ints


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic map from a score to a probability: 1 / (1 + exp(-(slope * score + bias)))."""

    slope: float
    bias: float

    def __call__(self, scores: Floats) -> Floats:
        """Scores (N,) -> probabilities (N,)."""
        probabilities: Floats = expit(self.slope * np.asarray(scores, dtype=np.float64) + self.bias)
        return probabilities


def fit_platt(scores: Floats, labels: Ints, weights: Floats | None = None) -> Platt:
    """Fit `Platt` to held-out scores by maximum likelihood, with Platt's smoothed targets."""
    weights = np.ones(len(scores)) if weights is None else weights
    fakes, reals = float(weights[labels == 1].sum()), float(weights[labels == 0].sum())
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    spread = float(np.std(scores)) or 1.0

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * scores / spread + parameters[1]
        residual = weights * (expit(z) - targets)
        value = float(np.sum(weights * (np.logaddexp(0, z) - targets * z)))
        return value, np.array([residual @ scores / spread, residual.sum()])

    solution = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return Platt(float(solution.x[0] / spread), float(solution.x[1]))


def expected_calibration_error(
    labels: Ints, probabilities: Floats, bins: int = 10, weights: Floats | None = None
) -> float:
    """Mean gap between probability and share of fakes, over bins of equal width, weighted by their images.

    Arguments have the shape (N,); `weights` are 1 by default.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    bin_indices = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_indices, weights * (probabilities - labels), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())
