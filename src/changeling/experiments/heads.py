"""S and T: linear maps D -> D, trained to hide or to bring out what tells real from fake (section 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.clusters.manifest import Dataset
from changeling.errors import DatasetError
from changeling.experiments import common
from changeling.experiments.common import Context
from changeling.experiments.settings import DisentangleSettings
from changeling.features.store import Features
from changeling.files import whole
from changeling.stats.contrast import AdamW, contrast, unit

Kind = Literal["S", "T"]
_BLOCK = 8192  # rows that are projected at once


@dataclass(frozen=True, slots=True)
class Projection:
    """A trained S or T: `weight` (D, D), and its loss after each epoch."""

    weight: NDArray[np.float32]
    losses: tuple[float, ...]
    clusters: int  # trained on

    def __call__(self, features: Features) -> Features:
        """Features (N, D) -> their projections, of unit length (N, D)."""
        values = np.empty_like(features.values)
        for start in range(0, len(values), _BLOCK):
            values[start : start + _BLOCK] = unit(features.values[start : start + _BLOCK] @ self.weight.T)[0]
        return replace(features, values=values)


def train_head(
    context: Context, features: Features, generator: str, kind: Kind, settings: DisentangleSettings
) -> Projection:
    """Train S (`L_c - L_fr`) or T (`L_fr - L_c`) on the train split's clusters with children of a generator.

    A batch is made of whole clusters. After every epoch all that training needs goes to a checkpoint in
    `context.heads`, from which a later call goes on, or takes the finished head, if its settings, seed and features
    are the same. The bytes are those of an undisturbed run.

    Raises:
        DatasetError: fewer than two clusters of the train split have a parent and a child.
    """
    rows, starts = training_clusters(context.dataset, features, generator)
    images = np.diff(starts).mean()
    a_batch = max(2, round(settings.batch / images))
    state = _State(features.values.shape[1], settings, context.seed)
    path = _checkpoint(context, features, generator, kind, settings)
    if path:
        state.load(path)
    sign = np.float32(1 if kind == "T" else -1)
    name = f"{kind} of {features.header.backbone}, {generator}"
    while len(state.losses) < settings.epochs:
        losses = [
            (
                sign
                * _step(
                    state,
                    features.values[batch],
                    context.dataset.labels[batch],
                    context.dataset.clusters[batch],
                    sign,
                    settings.temperature,
                ),
                len(batch),
            )
            for batch in _batches(rows, starts, a_batch, (context.seed, len(state.losses)))
        ]
        state.losses.append(float(np.average([loss for loss, _ in losses], weights=[n for _, n in losses])))
        if path:
            state.save(path)
        context.progress(f"{name}: loss {state.losses[-1]:.4f}", len(state.losses), settings.epochs)
    return Projection(state.weight, tuple(state.losses), len(starts) - 1)


def training_clusters(
    dataset: Dataset, features: Features, generator: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the train split's clusters that have a parent and a child, cluster by cluster, and where each starts.

    The last start is the number of rows.
    """
    rows = common.select(dataset, features.valid, generator, "train")
    clusters, labels = dataset.clusters[rows], dataset.labels[rows]
    count = int(dataset.clusters.max()) + 1
    both = (np.bincount(clusters, labels == 0, count) > 0) & (np.bincount(clusters, labels == 1, count) > 0)
    rows = rows[both[clusters]]
    rows = rows[np.argsort(dataset.clusters[rows], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(dataset.clusters[rows]) != 0]) if len(rows) else np.array([0])
    if len(starts) < 2:
        raise DatasetError(
            f"{dataset.path}: S and T need two clusters of the train split with a parent and a child by {generator}"
        )
    return rows, np.r_[starts, len(rows)]


def _batches(
    rows: NDArray[np.int64], starts: NDArray[np.int64], size: int, seed: tuple[int, int]
) -> Iterator[NDArray[np.int64]]:
    """Every cluster once, in a new order, `size` at a time; a lone last one joins the batch before it."""
    order = np.random.default_rng(seed).permutation(len(starts) - 1)
    cuts = list(range(size, len(order), size))
    if cuts and len(order) - cuts[-1] < 2:
        cuts.pop()
    for some in np.split(order, cuts):
        yield np.concatenate([rows[starts[i] : starts[i + 1]] for i in np.sort(some).tolist()])


def _step(
    state: _State,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    clusters: NDArray[np.int64],
    sign: np.float32,
    temperature: float,
) -> float:
    """One step of AdamW on one batch; returns `L_fr - L_c`."""
    projected, lengths = unit(features @ state.weight.T)
    loss, gradient = contrast(projected, labels, clusters, temperature)
    along = (projected * gradient).sum(axis=1, keepdims=True)
    gradient = sign * (gradient - projected * along) / lengths
    state.optimizer.step(state.weight, gradient.T @ features)
    return loss


class _State:
    """A head in training, which a checkpoint holds."""

    def __init__(self, dim: int, settings: DisentangleSettings, seed: int) -> None:
        bound = 1 / np.sqrt(dim)  # as torch.nn.Linear draws it
        draw = np.random.default_rng(seed)
        self.weight = draw.uniform(-bound, bound, (dim, dim)).astype(np.float32)
        self.optimizer = AdamW((dim, dim), lr=settings.lr, weight_decay=settings.weight_decay)
        self.losses: list[float] = []

    def save(self, path: Path) -> None:
        tensors = {
            "weight": self.weight,
            "first": self.optimizer.first,
            "second": self.optimizer.second,
            "losses": np.array(self.losses),
            "steps": np.array(self.optimizer.steps),
        }
        with whole(path) as temporary:
            temporary.write_bytes(save(tensors))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; one that is absent or broken is as none."""
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return
        self.weight = tensors["weight"]
        self.optimizer.first, self.optimizer.second = tensors["first"], tensors["second"]
        self.optimizer.steps, self.losses = int(tensors["steps"]), tensors["losses"].tolist()


def _checkpoint(
    context: Context, features: Features, generator: str, kind: Kind, settings: DisentangleSettings
) -> Path | None:
    """Where this head is kept: the name holds all that it depends on."""
    if context.heads is None:
        return None
    header = features.header
    told = settings.model_dump(exclude={"C", "curve"}) | {
        "seed": context.seed,
        "dataset": context.dataset.hash,
        "features": [header.backbone, header.weights, header.preprocessing],
        "generator": generator,
    }
    digest = hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()[:12]
    safe = f"{header.backbone}-{generator}".replace("/", "_").replace(":", "_")
    return context.heads / f"{kind}-{safe}-{digest}.safetensors"
