"""Training of S and T: linear maps D -> D that remove or amplify what tells real from fake (section 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError, StudyError
from changeling.experiments.base import Context, Settings
from changeling.experiments.selection import list_generators, select_paired_rows
from changeling.features.store import Features
from changeling.files import atomic_write
from changeling.parts import replace_separators
from changeling.results.format import format_label
from changeling.stats.contrastive import AdamW, contrastive_loss_bounds, contrastive_loss_difference
from changeling.stats.vectors import l2_normalize

Kind = Literal["S", "T"]
CHECKPOINTS = "heads"  # folder of checkpoints in the output of a study; renamed, S and T would be trained again
FEW_STEPS = 300  # with fewer, training never counts as converged
_CHECKPOINT_STEPS = 100  # at least, between checkpoints
_BLOCK = 8192  # rows projected at once
_MAX_WEIGHT = 1e12


class ProjectionSettings(Settings):
    """Settings of the training of S and T."""

    temperature: float = Field(default=0.1, gt=0, description="only scales the loss, see docs/study.md")
    weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
    lr: float = Field(default=1e-3, gt=0, description="learning rate of AdamW")
    epochs: int = Field(default=25, ge=1, description="passes over the train split, but at least min_steps")
    min_steps: int = Field(default=500, ge=1, description="of the optimiser; 25 epochs of COCOFake are 16,600")
    batch: int = Field(default=1024, ge=8, description="images; the nearest number of whole clusters is used")


@dataclass(frozen=True, slots=True)
class Projection:
    """A trained S or T.

    Attributes:
        weight: (D, D).
        losses: the loss of each step.
        bound: a lower bound of the loss of a batch of average size.
        clusters: how many it was trained on.
    """

    weight: NDArray[np.float32]
    losses: tuple[float, ...]
    bound: float
    clusters: int

    @property
    def loss(self) -> float:
        """Mean loss of the last tenth of the steps."""
        return float(np.mean(self.losses[-_count_tenth(self.losses) :]))

    @property
    def is_converged(self) -> bool:
        """Whether the last tenth of the steps improves the loss by less than 1 % of the distance already covered.

        The improvement is over the tenth before it, and the distance is from the loss before training. Fewer than
        `FEW_STEPS` steps never count as converged.
        """
        tenth = _count_tenth(self.losses)
        if len(self.losses) < FEW_STEPS:
            return False
        before = float(np.mean(self.losses[-2 * tenth : -tenth]))
        return before - self.loss < 0.01 * abs(self.losses[0] - self.loss)

    def project(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the projections of features (N, D), of unit length (N, D). Equal features have equal projections."""
        projected = np.empty_like(values)
        weight = self.weight.T.astype(np.float64)  # a product in float32 rounds equal rows unequally
        for start in range(0, len(values), _BLOCK):
            projected[start : start + _BLOCK] = l2_normalize(values[start : start + _BLOCK] @ weight)[0]
        return projected


def train_projection(
    context: Context, features: Features, generator: str, kind: Kind, settings: ProjectionSettings
) -> Projection:
    """Train S (`L_c - L_fr`) or T (`L_fr - L_c`) on the train split's clusters with children by a generator.

    A batch consists of whole clusters. Training lasts `settings.epochs`, but at least `settings.min_steps` steps. At
    the end of an epoch, at least 100 steps apart, a checkpoint is written to `context.projections`. A later call with
    the same settings, seed and features resumes from it, or returns the finished projection; the result is the same,
    byte for byte, as without an interruption.

    Raises:
        StudyError: training diverges with these settings.
    """
    training_set = _load_training_set(context.dataset, features, generator)
    clusters_per_batch = max(2, round(settings.batch / np.diff(training_set.starts).mean()))
    state = _TrainingState(features.values.shape[1], settings, context.seed)
    path = _checkpoint_path(context, features, generator, kind, settings)
    if path:
        state.load(path)
    steps_per_epoch = len(list(_shuffle_batches(training_set, clusters_per_batch, (0, 0))))
    epochs = max(settings.epochs, ceil(settings.min_steps / steps_per_epoch))
    saved_every = ceil(_CHECKPOINT_STEPS / steps_per_epoch)
    for epoch in range(len(state.losses) // steps_per_epoch, epochs):
        batches = _shuffle_batches(training_set, clusters_per_batch, (context.seed, epoch))
        state.train_epoch(training_set, batches, 1 if kind == "T" else -1, settings.temperature)
        if not _is_finite(state.weight, state.losses):
            raise StudyError(
                f"{kind} of {features.header.backbone}: training diverges with disentangle.lr = {settings.lr:g}, "
                f"weight_decay = {settings.weight_decay:g} and temperature = {settings.temperature:g}; lower lr"
            )
        if (epoch + 1) % saved_every and epoch + 1 < epochs:
            continue
        if path:
            state.save(path)
        message = f"{kind} of {features.header.backbone}, {generator}: loss {state.losses[-1]:.4f}"
        context.progress(message, epoch + 1, epochs)
    clusters = len(training_set.starts) - 1
    mean_images = len(training_set.rows) / steps_per_epoch
    bounds = contrastive_loss_bounds(clusters / steps_per_epoch, mean_images, settings.temperature)
    return Projection(state.weight, tuple(state.losses), bounds[0 if kind == "T" else 1], clusters)


def check_trainable(dataset: Dataset, valid: NDArray[np.bool_], generator: str) -> None:
    """Raise DatasetError if the train split has no two clusters with a parent and a child by a generator."""
    rows = select_paired_rows(dataset, valid, generator, "train")
    if len(set(dataset.clusters[rows])) < 2:
        raise DatasetError(
            f"{dataset.path}: to train S and T, the train split needs two clusters with a parent and a child by "
            f"{format_label(generator)}"
        )


def list_trainable_generators(dataset: Dataset, valid: NDArray[np.bool_]) -> list[str]:
    """Return the generators that S and T can be trained for.

    A generator that made all children of the clusters is listed as `all` only.

    Raises:
        DatasetError: there is none.
    """
    generators: dict[bytes, str] = {}  # by the rows to train on
    for generator in list_generators(dataset):
        rows = select_paired_rows(dataset, valid, generator, "train")
        if len(set(dataset.clusters[rows])) > 1:
            generators.setdefault(rows.tobytes(), generator)
    if not generators:
        raise DatasetError(
            f"{dataset.path}: to train S and T, the train split needs two clusters with a parent and a child"
        )
    return list(generators.values())


def select_training_clusters(
    dataset: Dataset, valid: NDArray[np.bool_], generator: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on, sorted by cluster, and the starts of the clusters with the end of the last."""
    rows = select_paired_rows(dataset, valid, generator, "train")
    return rows, np.r_[0, np.flatnonzero(np.diff(dataset.clusters[rows])) + 1, len(rows)]


@dataclass(frozen=True, slots=True)
class _TrainingSet:
    """All features, labels and clusters of a dataset, and the rows of them to train on."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    rows: NDArray[np.int64]  # sorted by cluster
    starts: NDArray[np.int64]  # of each cluster in `rows`, and the end of the last one


def _load_training_set(dataset: Dataset, features: Features, generator: str) -> _TrainingSet:
    rows, starts = select_training_clusters(dataset, features.valid, generator)
    return _TrainingSet(features.values, dataset.labels, dataset.clusters, rows, starts)


def _shuffle_batches(
    training_set: _TrainingSet, clusters_per_batch: int, seed: tuple[int, int]
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each batch, in a new order of clusters; a last cluster alone joins the batch before it."""
    rows, starts = training_set.rows, training_set.starts
    order = np.random.default_rng(seed).permutation(len(starts) - 1)
    cuts = list(range(clusters_per_batch, len(order), clusters_per_batch))
    if cuts and len(order) - cuts[-1] < 2:
        cuts.pop()
    for batch in np.split(order, cuts):
        yield np.concatenate([rows[starts[i] : starts[i + 1]] for i in np.sort(batch).tolist()])


class _TrainingState:
    """The weight, optimiser and losses of a projection in training: the content of a checkpoint."""

    def __init__(self, dim: int, settings: ProjectionSettings, seed: int) -> None:
        bound = 1 / np.sqrt(dim)  # the initialisation of torch.nn.Linear
        rng = np.random.default_rng(seed)
        self.weight = rng.uniform(-bound, bound, (dim, dim)).astype(np.float32)
        self.optimizer = AdamW((dim, dim), lr=settings.lr, weight_decay=settings.weight_decay)
        self.losses: list[float] = []

    def train_epoch(
        self, training_set: _TrainingSet, batches: Iterator[NDArray[np.int64]], sign: int, temperature: float
    ) -> None:
        """Minimise `sign` times `L_fr - L_c` on each batch, and append its loss."""
        with np.errstate(all="ignore"):  # the caller checks for numbers that are not finite
            for rows in batches:
                labels, clusters = training_set.labels[rows], training_set.clusters[rows]
                self.losses.append(self._step(training_set.features[rows], labels, clusters, sign, temperature))

    def _step(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        clusters: NDArray[np.int64],
        sign: int,
        temperature: float,
    ) -> float:
        """Take one step of AdamW, and return the loss before it."""
        projected, lengths = l2_normalize(features @ self.weight.T)
        loss, gradient = contrastive_loss_difference(projected, labels, clusters, temperature)
        along = (projected * gradient).sum(axis=1, keepdims=True)
        gradient = (gradient - projected * along) / lengths
        self.optimizer.step(self.weight, np.float32(sign) * (gradient.T @ features))
        return sign * loss

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
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
        """Resume from a checkpoint; one that is missing, unreadable or not finite is ignored."""
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return
        if not _is_finite(tensors["weight"], tensors["losses"].tolist()):
            return
        self.weight = tensors["weight"]
        self.optimizer.first, self.optimizer.second = tensors["first"], tensors["second"]
        self.optimizer.steps, self.losses = int(tensors["steps"]), tensors["losses"].tolist()


def _count_tenth(losses: Sequence[float]) -> int:
    """Return a tenth of the number of steps, at least 1."""
    return max(1, len(losses) // 10)


def _is_finite(weight: NDArray[np.float32], losses: Sequence[float]) -> bool:
    """Return whether losses are finite, and weights so small that products of them are finite, too."""
    return bool(np.abs(weight).max() < _MAX_WEIGHT and np.isfinite(losses).all())


def _checkpoint_path(
    context: Context, features: Features, generator: str, kind: Kind, settings: ProjectionSettings
) -> Path | None:
    """Return the path of a checkpoint; its name has a hash of everything that the projection depends on."""
    if context.projections is None:
        return None
    header = features.header
    dependencies = settings.model_dump(include=set(ProjectionSettings.model_fields)) | {
        "seed": context.seed,
        "dataset": context.dataset.hash,
        "features": [header.backbone, header.weights, header.preprocessing],
        "generator": generator,
    }
    digest = hashlib.sha256(repr(sorted(dependencies.items())).encode()).hexdigest()[:12]
    name = replace_separators(f"{header.backbone}-{generator}")
    return context.projections / f"{kind}-{name}-{digest}.safetensors"
