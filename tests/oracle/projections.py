"""Table 4: S and T trained by torch's autograd and AdamW on Eq. 4 and 5 as they stand, in double precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from tests.oracle.data import DIMS, Images
from tests.oracle.distances import describe_distances
from tests.oracle.intervals import Cell, Floats, describe_mean, sum_by_cluster
from tests.oracle.probes import Probe, Training, describe_accuracies, fit_logistic, select_training_rows, train_probe
from tests.oracle.rows import EVALUATED, Rows, find_rows, list_members


@dataclass(frozen=True)
class Optimisation:
    """How S and T are trained, as a study file has it."""

    epochs: int
    min_steps: int
    batch: int
    temperature: float = 0.1
    weight_decay: float = 0.01
    lr: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """S or T, the loss of each step, its bound, and the number of clusters that it was trained on."""

    weight: Floats
    losses: list[float]
    bound: float
    clusters: int

    @cached_property
    def loss(self) -> float:
        return float(np.mean(self.losses[-len(self.losses) // 10 :])) if len(self.losses) >= 10 else self.losses[-1]

    @property
    def is_converged(self) -> bool:
        """Whether the last tenth of 300 steps or more gains less than 1 % of what all steps gain."""
        tenth = len(self.losses) // 10
        gain = float(np.mean(self.losses[-2 * tenth : -tenth])) - self.loss
        return len(self.losses) >= 300 and gain < 0.01 * abs(self.losses[0] - self.loss)

    def project(self, values: NDArray[Any]) -> Floats:
        projected = values.astype(np.float64) @ self.weight.T
        return np.asarray(projected / np.linalg.norm(projected, axis=1, keepdims=True))


def train(images: Images, backbone: str, generator: str, kind: str, optimisation: Optimisation) -> Trained:
    """Train S or T on the train split's clusters with a parent and a child of a generator, in whole clusters."""
    rows = find_rows(images, backbone, generator, "train")
    clusters = [one for one in list_members(images, rows) if 0 < images.is_child[one].sum() < len(one)]
    count, total = len(clusters), sum(map(len, clusters))
    per_batch = max(2, round(optimisation.batch / (total / count)))
    steps_per_epoch = max(1, ceil(count / per_batch))
    if count % per_batch == 1 and steps_per_epoch > 1:  # a single cluster joins the batch before it
        steps_per_epoch -= 1
    dim = DIMS[backbone]
    start = np.random.default_rng(optimisation.seed).uniform(-1 / sqrt(dim), 1 / sqrt(dim), (dim, dim))
    weight = torch.tensor(start.astype(np.float32).astype(np.float64), requires_grad=True)
    optimiser = torch.optim.AdamW([weight], lr=optimisation.lr, weight_decay=optimisation.weight_decay)
    losses = []
    for epoch in range(max(optimisation.epochs, ceil(optimisation.min_steps / steps_per_epoch))):
        order = np.random.default_rng((optimisation.seed, epoch)).permutation(count)
        for step in range(steps_per_epoch):
            end = (step + 1) * per_batch if step + 1 < steps_per_epoch else count
            batch = np.concatenate([clusters[number] for number in order[step * per_batch : end]])
            values = torch.tensor(images.values[backbone][batch].astype(np.float64))
            loss_by_class, loss_by_cluster = (
                compute_loss(values @ weight.T, torch.tensor(labels), optimisation.temperature)
                for labels in (images.is_child[batch], images.cluster[batch])
            )
            loss = loss_by_cluster - loss_by_class if kind == "S" else loss_by_class - loss_by_cluster
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
    bound = bound_loss(kind, count / steps_per_epoch, total / steps_per_epoch, optimisation.temperature)
    return Trained(weight.detach().numpy(), losses, bound, count)


def compute_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the supervised contrastive loss (Eq. 5), the mean over anchors with a positive."""
    unit = torch.nn.functional.normalize(features)
    similarity = unit @ unit.T / temperature
    is_self = torch.eye(len(labels), dtype=torch.bool)
    log_share = similarity - similarity.masked_fill(is_self, -torch.inf).logsumexp(dim=1, keepdim=True)
    is_positive = (labels[:, None] == labels) & ~is_self
    counts = is_positive.sum(dim=1)
    of_anchor = -(log_share * is_positive).sum(dim=1)[counts > 0] / counts[counts > 0]
    return of_anchor.mean()


def bound_loss(kind: str, clusters: float, images: float, temperature: float) -> float:
    """Return the lowest loss of a batch.

    T: all real images in one point, all fakes in the opposite one. S: each cluster in one point, and the points
    balanced, so that real images add up to zero, and fakes, too.
    """
    if kind == "T":
        return -4 * clusters / images / temperature
    fakes = images - clusters
    return -(1 + (clusters / (clusters - 1) + fakes / (fakes - 1)) / images) / temperature


def compute_disentanglement(
    images: Images, backbone: str, tested_on: dict[str, tuple[str, ...]], optimisation: Optimisation, probe: Training
) -> tuple[Rows, dict[tuple[str, str, str], Trained], dict[tuple[str, str, str], Probe]]:
    """Return the rows of Table 4; projections and probes by generator to train on, backbone and space.

    `tested_on` has the generators to test on for each generator to train on.
    """
    rows: Rows = {}
    projections: dict[tuple[str, str, str], Trained] = {}
    probes: dict[tuple[str, str, str], Probe] = {}
    for trained_on, generators in tested_on.items():
        training = replace(probe, train_on=trained_on, seed=optimisation.seed)
        spaces: dict[str, tuple[str, NDArray[Any]]] = {"raw": ("raw", images.values[backbone])}
        for kind in ("S", "T"):
            trained = projections[trained_on, backbone, kind] = train(images, backbone, trained_on, kind, optimisation)
            label = kind if trained.is_converged else f"{kind} (not converged)"
            spaces[kind] = label, trained.project(images.values[backbone])
        for space, (_, values) in spaces.items():
            probes[trained_on, backbone, space] = train_probe(images, backbone, values, training)
        for generator in generators:
            for space, (label, values) in spaces.items():
                fitted = probes[trained_on, backbone, space]
                rows[generator, backbone, label] = _describe_splits(images, backbone, values, fitted, generator)
    return rows, projections, probes


def _describe_splits(
    images: Images, backbone: str, values: NDArray[Any], probe: Probe, generator: str
) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for split in EVALUATED:
        rows = find_rows(images, backbone, generator, split)
        is_right = (probe.score(values[rows]) > 0) == images.is_child[rows]
        cells |= describe_accuracies(images, rows, is_right, split)
        cells |= describe_distances(images, values, rows, split)
    return cells


def compute_curve(images: Images, projections: dict[tuple[str, str, str], Trained], seed: int, epochs: int) -> Rows:
    """Return the table of probes of increasing strength on raw features and on S."""
    rows: Rows = {}
    for (generator, backbone, space), trained in projections.items():
        if space != "S":
            continue
        train_rows = select_training_rows(images, backbone, Training(generator, seed=seed))
        test = find_rows(images, backbone, generator, "test")
        is_fake = images.is_child[test]
        cells: dict[str, Cell] = {}
        for name, values in (
            ("raw features", images.values[backbone]),
            ("S", trained.project(images.values[backbone]).astype(np.float32)),
        ):
            mean = values[train_rows].mean(axis=0)
            scale = (values[train_rows] - mean).std()
            inputs, tests = (values[train_rows] - mean) / scale, (values[test] - mean) / scale
            labels = images.is_child[train_rows]
            predictions = {"non-linear": _predict_non_linear(inputs, labels, tests, seed, epochs)}
            for key, c in (("C = 0.01", 0.01), ("C = 1", 1.0), ("C = 1e6", 1e6)):
                weight = fit_logistic(inputs, labels, c)
                predictions[key] = tests @ weight[:-1] + weight[-1] > 0
            for key, predicted in predictions.items():
                is_right = predicted == is_fake
                of_real, of_fake = (
                    sum_by_cluster(is_right, images.cluster[test], is_fake == kind) for kind in (False, True)
                )
                cells[f"{name}/{key}"] = describe_mean(of_real, of_fake, 0.5) | {"chance": None}
        rows[generator, backbone] = cells
    return rows


def _predict_non_linear(
    inputs: NDArray[Any], is_fake: NDArray[np.bool_], tests: NDArray[Any], seed: int, epochs: int
) -> NDArray[np.bool_]:
    """Return what a perceptron with a hidden layer of 256 units calls fake; both classes have the same weight."""
    model = MLPClassifier((256,), alpha=1e-3, max_iter=epochs, random_state=seed)
    weights = np.where(is_fake, 0.5 / is_fake.mean(), 0.5 / (~is_fake).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, is_fake.astype(np.int64), sample_weight=weights)
    return np.asarray(model.predict(tests) == 1)
