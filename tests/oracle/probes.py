"""Table 2: a logistic regression that is minimised by a trust-region method of scipy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from tests.oracle.data import DIMS, GENERATORS, Images
from tests.oracle.intervals import (
    Bools,
    Cell,
    Floats,
    Ints,
    describe_auroc,
    describe_mean,
    describe_share,
    sum_by_cluster,
)
from tests.oracle.rows import ALL, EVALUATED, ROW_GENERATORS, Rows, find_rows, find_training_children, list_members


@dataclass(frozen=True)
class Training:
    """How a probe is trained; `c` is None where it is chosen on the validation split."""

    train_on: str = ALL
    children: str = "one"
    c: float | None = None
    is_standardised: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Probe:
    mean: Floats
    scale: Floats
    weight: Floats  # and the bias
    c: float
    training_images: int

    def score(self, values: NDArray[Any]) -> Floats:
        return np.asarray((values - self.mean) / self.scale @ self.weight[:-1] + self.weight[-1])


def train_probe(images: Images, backbone: str, values: NDArray[Any], training: Training) -> Probe:
    """Train the probe of `training` on the train split of features (N, D)."""
    train = select_training_rows(images, backbone, training)
    mean = values[train].mean(axis=0, dtype=np.float64)
    scale = values[train].std(axis=0, dtype=np.float64) + 1e-6 if training.is_standardised else np.ones_like(mean)
    inputs, is_fake = (values - mean) / scale, images.is_child
    parents = images.has_feature(backbone) & ~is_fake & (images.split == "val")
    val = np.flatnonzero(parents | find_training_children(images, backbone, training.train_on, "val"))
    losses: dict[float, float] = {}
    fits: dict[float, Floats] = {}

    def search(grid: list[float]) -> float:
        for c in grid:
            fits[c] = fit_logistic(inputs[train], is_fake[train], c)
            losses[c] = balanced_loss(inputs[val] @ fits[c][:-1] + fits[c][-1], is_fake[val])
        return min(sorted(losses), key=losses.__getitem__)

    if training.c is None:
        best = search([10.0**power for power in range(-6, 3)])
        best = search([best * 10 ** (quarter / 4) for quarter in (-3, -2, -1, 1, 2, 3)])
    else:
        best = search([training.c])
    return Probe(mean, scale, fits[best], best, len(train))


def select_training_rows(images: Images, backbone: str, training: Training) -> Ints:
    """Return the parents of the train split, and all children to train on or a random one of each cluster.

    The random one is the first of its cluster in a permutation of all.
    """
    is_parent = images.has_feature(backbone) & ~images.is_child & (images.split == "train")
    children = np.flatnonzero(find_training_children(images, backbone, training.train_on, "train"))
    if training.children == "one":
        drawn: dict[int, int] = {}
        for child in np.random.default_rng(training.seed).permutation(children).tolist():
            drawn.setdefault(int(images.cluster[child]), child)
        children = np.array(list(drawn.values()))
    return np.sort(np.r_[np.flatnonzero(is_parent), children])


def fit_logistic(inputs: NDArray[Any], is_fake: Bools, c: float) -> Floats:
    """Return the weight and bias (D + 1,) that minimise |w|^2 / 2 + C sum(weight of the class x log loss)."""
    design = np.c_[inputs.astype(np.float64), np.ones(len(inputs))]
    share = np.where(is_fake, 0.5 / is_fake.mean(), 0.5 / (~is_fake).mean()) / len(design)
    ridge = np.r_[np.full(inputs.shape[1], 1 / (c * len(design))), 0.0]

    def loss(weight: Floats) -> tuple[float, Floats]:
        z = design @ weight
        value = share @ np.logaddexp(0, np.where(is_fake, -z, z)) + (ridge * weight) @ weight / 2
        return float(value), design.T @ (share * (expit(z) - is_fake)) + ridge * weight

    def hessian(weight: Floats) -> Floats:
        p = expit(design @ weight)
        return np.asarray((design * (share * p * (1 - p))[:, None]).T @ design + np.diag(ridge))

    start = np.zeros(design.shape[1])
    weight = minimize(loss, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-7}).x
    for _ in range(3):  # Newton's method, once it is near
        weight = weight - np.linalg.solve(hessian(weight), loss(weight)[1])
    return np.asarray(weight)


def balanced_loss(scores: Floats, is_fake: Bools) -> float:
    losses = np.logaddexp(0, np.where(is_fake, -scores, scores))
    return float(losses[is_fake].mean() + losses[~is_fake].mean()) / 2


def compute_probes(images: Images, training: Training) -> tuple[Rows, dict[str, Probe]]:
    """Return the rows of Table 2, and the probe of each backbone."""
    probes = {backbone: train_probe(images, backbone, images.values[backbone], training) for backbone in DIMS}
    rows: Rows = {
        (generator, backbone): _describe_splits(images, backbone, generator, probes[backbone])
        for generator in ROW_GENERATORS
        for backbone in DIMS
    }
    return rows, probes


def compute_transfer(images: Images, training: Training) -> Rows:
    """Return the rows of each generator to train on by each generator to test on."""
    rows: Rows = {}
    for train_on in ROW_GENERATORS:
        own = Training(train_on, training.children, training.c, training.is_standardised, training.seed)
        probes = {backbone: train_probe(images, backbone, images.values[backbone], own) for backbone in DIMS}
        for generator in GENERATORS:
            for backbone in DIMS:
                cells = _describe_splits(images, backbone, generator, probes[backbone])
                rows[train_on, generator, backbone] = cells
    return rows


def _describe_splits(images: Images, backbone: str, generator: str, probe: Probe) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for split in EVALUATED:
        rows = find_rows(images, backbone, generator, split)
        is_fake, cluster = images.is_child[rows], images.cluster[rows]
        scores = probe.score(images.values[backbone][rows])
        is_right = (scores > 0) == is_fake
        cells |= describe_accuracies(images, rows, is_right, split)
        of_real, of_fake = (sum_by_cluster(is_right, cluster, is_fake == kind) for kind in (False, True))
        cells[f"{split}_balanced"] = describe_mean(of_real, of_fake, 0.5)
        cells[f"{split}_auroc"] = describe_auroc(is_fake, scores, cluster)
    return cells


def describe_accuracies(images: Images, rows: Ints, is_right: Bools, split: str) -> dict[str, Cell]:
    """Return overall and full-cluster accuracy of images `rows`, of which `is_right` says which are labelled right."""
    overall = sum_by_cluster(is_right, images.cluster[rows])
    members = list_members(images, np.arange(len(images.cluster))[rows])
    right = dict(zip(rows.tolist(), is_right.tolist(), strict=True))
    is_full = np.array([all(right[row] for row in cluster.tolist()) for cluster in members])
    full = sum_by_cluster(is_full, np.arange(len(is_full)))
    return {
        f"{split}_overall": describe_share(overall, float(images.is_child[rows].mean())),
        f"{split}_full": describe_share(full) | {"images": len(rows)},
    }
