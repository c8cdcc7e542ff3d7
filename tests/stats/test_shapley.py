"""Shapley values: worked examples, the exact values by enumeration, and that they add up."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeling.stats.shapley import Evaluate, draw_orders, estimate_shapley_values


def make_random_game(players: int, seed: int) -> Evaluate:
    """A game in which every coalition has a value of its own, so that all players interact."""
    values = np.random.default_rng(seed).normal(size=2**players)
    return lambda coalitions: values[coalitions @ (1 << np.arange(players))]


def compute_exact_values(evaluate: Evaluate, players: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shapley's formula: what a player adds to each coalition without it, weighted by the size of the coalition."""
    codes = np.arange(2**players)
    members = (codes[:, None] >> np.arange(players)) & 1
    values = evaluate(members.astype(bool))
    factorials = np.array([math.factorial(size) for size in range(players + 1)])
    exact = np.empty(players)
    for player in range(players):
        without = codes[members[:, player] == 0]
        sizes = members[without].sum(axis=1)
        weights = factorials[sizes] * factorials[players - sizes - 1] / factorials[players]
        exact[player] = weights @ (values[without + (1 << player)] - values[without])
    return exact


def test_the_glove_game() -> None:
    """One left glove, two right ones: a pair is worth 1. By hand: 2/3, 1/6, 1/6."""
    orders = np.array(list(permutations(range(3))))
    estimate = estimate_shapley_values(lambda c: (c[:, 0] & (c[:, 1] | c[:, 2])).astype(float), orders)
    assert estimate.values == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert (estimate.empty, estimate.full, estimate.evaluations) == (0, 1, 8)


@pytest.mark.parametrize("players", [2, 3, 5])
def test_all_orders_give_the_exact_values(players: int) -> None:
    game = make_random_game(players, seed=players)
    estimate = estimate_shapley_values(game, np.array(list(permutations(range(players)))))
    assert estimate.values == pytest.approx(compute_exact_values(game, players))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), players=st.integers(2, 8), count=st.integers(2, 6))
def test_values_add_up_whatever_the_game_and_the_orders(seed: int, players: int, count: int) -> None:
    estimate = estimate_shapley_values(make_random_game(players, seed), draw_orders(players, count, seed))
    assert estimate.values.sum() == pytest.approx(estimate.full - estimate.empty, abs=1e-9)
    assert estimate.evaluations <= 2 * count * (players - 1) + 2


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_two_orders_are_exact_where_two_players_interact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    single, pairs = rng.normal(size=6), rng.normal(size=(6, 6))

    def evaluate(
        coalitions: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        member = coalitions.astype(float)
        return np.asarray(3 + member @ single + ((member @ pairs) * member).sum(axis=1))

    estimate = estimate_shapley_values(evaluate, draw_orders(6, 2, seed))
    assert estimate.values == pytest.approx(compute_exact_values(evaluate, 6))
    assert estimate.margins == pytest.approx(0, abs=1e-9)


def test_margins_contain_the_exact_values_nine_times_in_ten_or_more() -> None:
    contained = []
    for seed in range(60):
        game = make_random_game(6, seed)
        estimate = estimate_shapley_values(game, draw_orders(6, 5, seed))
        errors = estimate.values - compute_exact_values(game, 6)
        contained.append(np.abs(errors) <= estimate.margins)
    assert 0.9 < np.mean(contained) < 0.99
