"""Shapley values: how much each of n players contributes to a value that they reach together.

The contribution of a player is what its joining adds, averaged over the orders in which players can join (Shapley,
1953). The average is estimated from sampled orders (Castro et al., 2009), each with its reverse, which makes it exact
where at most two players interact (antithetic sampling; Mitchell et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from changeling.stats.metrics import Floats, Ints

Evaluate = Callable[[NDArray[np.bool_]], Floats]  # coalitions (B, n) -> their values (B,)


@dataclass(frozen=True, slots=True)
class ShapleyEstimate:
    """Estimated Shapley values of n players.

    Attributes:
        values: (n,); their sum is `full - empty`.
        margins: (n,), half the widths of the 95 % intervals over the sampled orders.
        empty: the value without players.
        full: the value with all players.
        evaluations: how many coalitions were evaluated.
    """

    values: Floats
    margins: Floats
    empty: float
    full: float
    evaluations: int


def draw_orders(players: int, count: int, seed: int) -> Ints:
    """Return `count` random orders of the players (count, players)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(players) for _ in range(count)])


def estimate_shapley_values(evaluate: Evaluate, orders: Ints) -> ShapleyEstimate:
    """Estimate Shapley values from orders of the n players (P, n), P >= 2, and their reverses.

    `evaluate` is called once, with different coalitions: at most 2 P (n - 1) + 2. An order and its reverse count as one
    observation for the margins, which are those of Student's t with P - 1 degrees of freedom.
    """
    count, players = orders.shape
    all_orders = np.stack([orders, orders[:, ::-1]], axis=1)  # (P, 2, n)
    places = np.argsort(all_orders, axis=-1)
    sizes = np.arange(players + 1)
    coalitions = places[:, :, None, :] < sizes[:, None]  # (P, 2, n + 1, n): the first 0, 1, ... n of an order
    different, index = np.unique(coalitions.reshape(-1, players), axis=0, return_inverse=True)
    values = evaluate(different)[index].reshape(coalitions.shape[:3])
    added = np.take_along_axis(np.diff(values), places, axis=-1)  # (P, 2, n): what each player adds in each order
    means = added.mean(axis=1)
    errors = means.std(axis=0, ddof=1) / np.sqrt(count)
    return ShapleyEstimate(
        values=means.mean(axis=0),
        margins=errors * float(stats.t.ppf(0.975, count - 1)),
        empty=float(values[0, 0, 0]),
        full=float(values[0, 0, -1]),
        evaluations=len(different),
    )
