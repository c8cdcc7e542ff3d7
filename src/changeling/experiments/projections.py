"""S and T: linear maps D -> D, trained to hide or to bring out what tells real from fake (section 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import DatasetError, StudyError
from changeling.experiments import base
from changeling.experiments.base import Context
from changeling.experiments.settings import DisentangleSettings
from changeling.features.store import Features
from changeling.files import atomic_write
from changeling.parts import replace_separators
from changeling.stats.contrastive import AdamW, contrast, unit

Kind = Literal["S", "T"]
_BLOCK = 8192  # rows that are projected at once
_LARGEST = 1e12  # of a head's numbers


@dataclass(frozen=True, slots=True)
class Projection:
    """A trained S or T: `weight` (D, D), and its loss after each epoch."""

    weight: NDArray[np.float32]
    losses: tuple[float, ...]
    clusters: int  # trained on

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, D) -> their projections, of unit length (N, D)."""
        projected = np.empty_like(values)
        for start in range(0, len(values), _BLOCK):
            projected[start : start + _BLOCK] = unit(values[start : start + _BLOCK] @ self.weight.T)[0]
        return projected


def train_head(
    context: Context, features: Features, generator: str, kind: Kind, settings: DisentangleSettings
) -> Projection:
    """Train S (`L_c - L_fr`) or T (`L_fr - L_c`) on the train split's clusters with children of a generator.

    A batch is made of whole clusters. After every epoch all that training needs goes to a checkpoint in
    `context.heads`, from which a later call goes on, or takes the finished head, if its settings, seed and features
    are the same. The bytes are those of an undisturbed run.

    Raises:
        StudyError: with these settings its numbers grow out of bounds.
    """
    dataset = context.dataset
    rows, starts = training_clusters(dataset, features.valid, generator)
    a_batch = max(2, round(settings.batch / np.diff(starts).mean()))
    state = _State(features.values.shape[1], settings, context.seed)
    path = _checkpoint(context, features, generator, kind, settings)
    if path:
        state.load(path)
    while len(state.losses) < settings.epochs:
        losses, sizes = [], []
        with np.errstate(all="ignore"):  # what grows out of bounds is told below
            for batch in _batches(rows, starts, a_batch, (context.seed, len(state.losses))):
                some = (features.values[batch], dataset.labels[batch], dataset.clusters[batch])
                losses.append(_step(state, *some, 1 if kind == "T" else -1, settings.temperature))
                sizes.append(len(batch))
            state.losses.append(float(np.average(losses, weights=sizes)))
        if not _bounded(state.weight, state.losses):
            raise StudyError(
                f"{kind} of {features.header.backbone} does not train: with disentangle.lr = {settings.lr:g}, "
                f"weight_decay = {settings.weight_decay:g} and temperature = {settings.temperature:g} its numbers grow "
                "out of bounds"
            )
        if path:
            state.save(path)
        what = f"{kind} of {features.header.backbone}, {generator}: loss {state.losses[-1]:.4f}"
        context.progress(what, len(state.losses), settings.epochs)
    return Projection(state.weight, tuple(state.losses), len(starts) - 1)


def paired(dataset: Dataset, valid: NDArray[np.bool_], generator: str, split: Split) -> NDArray[np.int64]:
    """Rows of a split's clusters that have a parent and a child by a generator, cluster by cluster."""
    rows = base.select(dataset, valid, generator, split)
    clusters, labels = dataset.clusters[rows], dataset.labels[rows]
    real, fake = (np.isin(clusters, clusters[labels == label]) for label in (0, 1))
    rows = rows[real & fake]
    return rows[np.argsort(dataset.clusters[rows], kind="stable")]


def trainable(dataset: Dataset, valid: NDArray[np.bool_]) -> list[str]:
    """Generators that S and T can be trained for; one that made all children of those clusters stands for `all`.

    Raises:
        DatasetError: there is none.
    """
    found: dict[bytes, str] = {}
    for generator in base.generators(dataset):
        rows = paired(dataset, valid, generator, "train")
        if len(set(dataset.clusters[rows])) > 1:
            found.setdefault(rows.tobytes(), generator)
    if not found:
        raise DatasetError(f"{dataset.path}: S and T need two clusters of the train split with a parent and a child")
    return list(found.values())


def training_clusters(
    dataset: Dataset, valid: NDArray[np.bool_], generator: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that S and T are trained on, cluster by cluster, and where each cluster starts and the last one ends."""
    rows = paired(dataset, valid, generator, "train")
    return rows, np.r_[0, np.flatnonzero(np.diff(dataset.clusters[rows])) + 1, len(rows)]


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
    sign: int,
    temperature: float,
) -> float:
    """One step of AdamW on one batch, down `sign` times `L_fr - L_c`; returns that loss before it."""
    projected, lengths = unit(features @ state.weight.T)
    loss, gradient = contrast(projected, labels, clusters, temperature)
    along = (projected * gradient).sum(axis=1, keepdims=True)
    gradient = (gradient - projected * along) / lengths
    state.optimizer.step(state.weight, np.float32(sign) * (gradient.T @ features))
    return sign * loss


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
        with atomic_write(path) as temporary:
            temporary.write_bytes(save(tensors))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; one that is absent, broken or out of bounds is as none."""
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return
        if not _bounded(tensors["weight"], tensors["losses"].tolist()):
            return
        self.weight = tensors["weight"]
        self.optimizer.first, self.optimizer.second = tensors["first"], tensors["second"]
        self.optimizer.steps, self.losses = int(tensors["steps"]), tensors["losses"].tolist()


def _bounded(weight: NDArray[np.float32], losses: Sequence[float]) -> bool:
    """Whether a head's numbers are such that products of them are finite, too."""
    return bool(np.abs(weight).max() < _LARGEST and np.isfinite(losses).all())


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
    name = replace_separators(f"{header.backbone}-{generator}")
    return context.heads / f"{kind}-{name}-{digest}.safetensors"
