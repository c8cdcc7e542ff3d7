"""Eq. 5 is pytorch-metric-learning's, Eq. 4's gradient is autograd's, AdamW is torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.losses import SupConLoss

from changeling.stats.contrastive import (
    AdamW,
    contrastive_loss_bounds,
    contrastive_loss_difference,
    supervised_contrastive_loss,
    symmetric_info_nce,
)
from changeling.stats.vectors import l2_normalize


def batch(sizes: list[int], dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole clusters: unit features, labels (the first is the parent), clusters."""
    rng = np.random.default_rng(seed)
    features, _ = l2_normalize(rng.normal(size=(sum(sizes), dim)))
    labels = np.concatenate([[0] + [1] * (size - 1) for size in sizes])
    return features, labels, np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_supcon_is_pytorch_metric_learnings(temperature: float) -> None:
    features, labels, clusters = batch([6] * 30)
    for target in (labels, clusters):
        expected = SupConLoss(temperature=temperature)(torch.tensor(features), torch.tensor(target))
        assert supervised_contrastive_loss(features, target, temperature) == pytest.approx(float(expected), abs=1e-6)


def test_supcon_by_hand() -> None:
    # two pairs, at right angles: each anchor has one positive beside it and two negatives at 0
    features = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    expected = -np.log(np.e / (np.e + 2))
    assert supervised_contrastive_loss(features, np.array([0, 0, 1, 1]), temperature=1.0) == pytest.approx(expected)


def test_an_anchor_without_positives_is_left_out() -> None:
    features, _, _ = batch([2, 2])
    alone = np.r_[features, np.eye(1, 16)]
    labels = np.array([0, 0, 1, 1, 2])
    expected = SupConLoss(temperature=0.1)(torch.tensor(alone), torch.tensor(labels))
    assert supervised_contrastive_loss(alone, labels) == pytest.approx(float(expected), abs=1e-6)


@given(st.lists(st.integers(2, 7), min_size=2, max_size=12), st.sampled_from([0.07, 0.1, 0.5]))
def test_the_difference_needs_no_similarity_matrix(sizes: list[int], temperature: float) -> None:
    features, labels, clusters = batch(sizes, seed=len(sizes))
    value, _ = contrastive_loss_difference(features, labels, clusters, temperature)
    by_label, by_cluster = (supervised_contrastive_loss(features, target, temperature) for target in (labels, clusters))
    assert value == pytest.approx(by_label - by_cluster)


def test_the_gradient_is_autograds_through_the_peers_losses() -> None:
    features, labels, clusters = batch([6] * 20)
    weight = torch.tensor(np.random.default_rng(1).normal(size=(16, 16)), requires_grad=True)
    loss = SupConLoss(temperature=0.1)
    projected = torch.nn.functional.normalize(torch.tensor(features) @ weight.T)
    difference = loss(projected, torch.tensor(labels)) - loss(projected, torch.tensor(clusters))
    difference.backward()

    ours, lengths = l2_normalize(features @ weight.detach().numpy().T)
    value, gradient = contrastive_loss_difference(ours, labels, clusters, 0.1)
    gradient = (gradient - ours * (ours * gradient).sum(axis=1, keepdims=True)) / lengths
    assert value == pytest.approx(difference.item(), abs=1e-6)
    assert weight.grad is not None
    np.testing.assert_allclose(gradient.T @ features, weight.grad.numpy(), atol=1e-7)


def test_adamw_is_torchs() -> None:
    rng = np.random.default_rng(0)
    ours = rng.normal(size=(5, 5)).astype(np.float32)
    theirs = torch.nn.Parameter(torch.tensor(ours.copy()))
    optimizer, peer = AdamW((5, 5), lr=1e-2, weight_decay=0.1), torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for _ in range(50):
        gradient = rng.normal(size=(5, 5)).astype(np.float32)
        optimizer.step(ours, gradient)
        theirs.grad = torch.tensor(gradient)
        peer.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("children", [1, 5])
def test_the_bounds_are_attained_by_two_points_and_by_collapsed_clusters(children: int) -> None:
    _, labels, clusters = batch([1 + children] * 6)
    t_bound, s_bound = contrastive_loss_bounds(6, len(labels))
    two_points = np.where(labels == 0, 1.0, -1.0)[:, None] * np.eye(1, 4)
    assert contrastive_loss_difference(two_points, labels, clusters)[0] == pytest.approx(t_bound)
    angles = 2 * np.pi * clusters / 6  # a point a cluster, which sum to zero
    collapsed = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert -contrastive_loss_difference(collapsed, labels, clusters)[0] == pytest.approx(s_bound)


@pytest.mark.parametrize("sizes", [[2] * 8, [6] * 8, [2, 3, 4, 5, 6, 7]])
@pytest.mark.parametrize("sign", [1, -1])
def test_long_training_of_free_points_comes_close_to_the_bound_and_not_below(sizes: list[int], sign: int) -> None:
    points, labels, clusters = batch(sizes)
    bound = contrastive_loss_bounds(len(sizes), len(labels))[0 if sign == 1 else 1]
    losses = []
    for _ in range(3000):
        loss, gradient = contrastive_loss_difference(points, labels, clusters)
        losses.append(sign * loss)
        points, _ = l2_normalize(points - 0.02 * sign * gradient)
    assert min(losses) >= bound - 1e-9
    assert losses[-1] == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_info_nce_and_its_gradient_are_torchs(temperature: float) -> None:
    rng = np.random.default_rng(0)
    captions, images = (l2_normalize(rng.normal(size=(12, 5)))[0] for _ in range(2))
    peer = torch.tensor(captions, requires_grad=True)
    logits = peer @ torch.tensor(images).T / temperature
    target = torch.arange(12)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    expected.backward()  # type: ignore[no-untyped-call]
    loss, gradient = symmetric_info_nce(captions, images, temperature)
    assert loss == pytest.approx(expected.item())
    assert peer.grad is not None
    np.testing.assert_allclose(gradient, peer.grad.numpy(), rtol=0, atol=1e-12)


def test_info_nce_without_information_is_the_log_of_the_batch() -> None:
    equal = np.eye(4)[[0] * 7]
    assert symmetric_info_nce(equal, equal, 0.1)[0] == pytest.approx(np.log(7))
