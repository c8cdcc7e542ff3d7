"""A linear map from the features of a text encoder to those of a backbone without a text tower.

It is trained on the captions of the parents of the train split, with a symmetric contrastive loss. Neither children nor
images of the test split take part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import DatasetError
from changeling.experiments.selection import select_all
from changeling.stats.contrastive import AdamW, symmetric_info_nce
from changeling.stats.vectors import MIN_LENGTH, l2_normalize

Floats = NDArray[np.float32]
Batch = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows of captions, and the rows of their images

MIN_PARENTS: dict[Split, int] = {"train": 50, "val": 10}  # with captions, to train a map and to choose how strongly
TEMPERATURE = 0.05
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.01
CAPTION_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
IMAGE_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, float("inf"))
MAX_STEPS = 1000
_STEPS_PER_CHECK = 10
_PATIENCE = 5  # checks without an improvement, after which training stops
_BATCH = 512  # parents
_VALIDATION_BATCHES = 5
_BLOCK = 8192  # captions mapped at once


@dataclass(frozen=True, slots=True)
class Pairs:
    """Parents of a split with their captions.

    Attributes:
        images: row of images.parquet of each parent (P,).
        captions: rows of captions.parquet, parent by parent (C,).
        starts: of the captions of each parent, and the end of the last one (P + 1,).
    """

    images: NDArray[np.int64]
    captions: NDArray[np.int64]
    starts: NDArray[np.int64]

    def draw_batch(self, rng: np.random.Generator) -> Batch:
        """Draw at most `_BATCH` parents, and one caption of each."""
        chosen = rng.permutation(len(self.images))[:_BATCH]
        return self.captions[rng.integers(self.starts[chosen], self.starts[chosen + 1])], self.images[chosen]

    def shuffle(self, seed: int) -> Pairs:
        """Return the captions of each parent with the image of another one."""
        order = np.random.default_rng(seed).permutation(len(self.images))
        images = np.empty_like(self.images)
        images[order] = self.images[np.roll(order, 1)]
        return replace(self, images=images)


@dataclass(frozen=True, slots=True)
class TextMap:
    """A trained map from captions to images: W (x - mean caption), beside images less their mean.

    Without their means, images and captions lie in two narrow cones, and the cosine says little.

    Attributes:
        weight: W (D, E).
        caption_mean, image_mean: means of the train split, of captions (E,) and of images of unit length (D,).
        penalties: of captions and of images, of the regression that training started from, see `_fit_regressions`.
        steps: of the optimiser, after which the validation loss was lowest.
        loss: that validation loss.
        candidates: how many images, or captions, each of its batches had; a map without information has the loss
            log(candidates).
    """

    weight: Floats
    caption_mean: Floats
    image_mean: Floats
    penalties: tuple[float, float]
    steps: int
    loss: float
    candidates: int

    def map_captions(self, captions: Floats) -> Floats:
        """Captions (N, E) -> points among the centred images (N, D), of unit length."""
        mapped = np.empty((len(captions), len(self.weight)), np.float32)
        for start in range(0, len(captions), _BLOCK):
            block = captions[start : start + _BLOCK] - self.caption_mean
            mapped[start : start + _BLOCK] = l2_normalize(block @ self.weight.T)[0]
        return mapped

    def center_images(self, images: Floats) -> Floats:
        """Features of images (N, D) -> at unit length, less the mean (N, D)."""
        return np.asarray(l2_normalize(images)[0] - self.image_mean, np.float32)


def select_pairs(dataset: Dataset, valid: NDArray[np.bool_], split: Split) -> Pairs:
    """Return the parents of a split that have a feature and captions; of each cluster the first one."""
    rows = np.flatnonzero((dataset.column("split") == split) & (dataset.labels == 0) & valid)
    parents: dict[str, int] = {}
    for row, cluster in zip(rows.tolist(), dataset.column("cluster_id")[rows], strict=True):
        parents.setdefault(cluster, row)
    owners = np.array([parents.get(name, -1) for name in dataset.captions["cluster_id"].to_pylist()], np.int64)
    captions = np.argsort(owners, kind="stable")[np.count_nonzero(owners < 0) :]
    images, starts = np.unique(owners[captions], return_index=True)
    return Pairs(images, captions, np.append(starts, len(captions)))


def check_captioned_parents(dataset: Dataset, valid: NDArray[np.bool_] | None = None) -> None:
    """Raise DatasetError if too few parents have captions to train a map and to choose how strongly.

    `valid` (N,) says which images have a feature; None stands for all.
    """
    for split, least in MIN_PARENTS.items():
        count = len(select_pairs(dataset, select_all(dataset) if valid is None else valid, split).images)
        if count < least:
            raise DatasetError(
                f"{dataset.path}: a map from captions to images needs {least} captioned parents in the {split} split, "
                f"and there are {count}; retrieval without it needs a backbone with a text tower, such as clip-vit-b32"
            )


def train_text_map(captions: Floats, images: Floats, train: Pairs, validation: Pairs, seed: int) -> TextMap:
    """Train a map on `train`; `validation` chooses the penalties of its start, and the number of steps.

    The start is a ridge regression from captions to images. AdamW then lowers the symmetric InfoNCE loss of batches of
    one caption for each of at most 512 parents, until the validation loss no longer falls.

    Args:
        captions: features of all captions, float32 (N, E).
        images: features of all images, float32 (M, D).
        train: what is trained on.
        validation: what the penalties and the number of steps are chosen on.
        seed: of the batches.
    """
    caption_mean, image_mean = _compute_means(captions, images, train)
    rng = np.random.default_rng(seed)
    batches = [validation.draw_batch(rng) for _ in range(_VALIDATION_BATCHES)]
    start = TextMap(np.empty(0, np.float32), caption_mean, image_mean, (0.0, 0.0), 0, np.inf, len(batches[0][0]))
    candidates = _fit_regressions(start, captions, images, train)
    best = min((_with_loss(candidate, captions, images, batches) for candidate in candidates), key=_get_loss)
    weight = best.weight.copy()
    optimizer = AdamW((weight.shape[0], weight.shape[1]), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    while optimizer.steps < min(MAX_STEPS, best.steps + _PATIENCE * _STEPS_PER_CHECK):
        for _ in range(_STEPS_PER_CHECK):
            current = replace(best, weight=weight)
            optimizer.step(weight, _compute_loss(current, captions, images, train.draw_batch(rng))[1])
        current = replace(best, weight=weight.copy(), steps=optimizer.steps)
        best = min(best, _with_loss(current, captions, images, batches), key=_get_loss)
    return best


def estimate_operations(image_dim: int, text_dim: int) -> float:
    """Return the floating-point operations of the training of a map and its control, in half of `MAX_STEPS` each."""
    return MAX_STEPS * 6.0 * _BATCH * image_dim * (text_dim + _BATCH)


def _compute_means(captions: Floats, images: Floats, train: Pairs) -> tuple[Floats, Floats]:
    return captions[train.captions].mean(axis=0), l2_normalize(images[train.images])[0].mean(axis=0)


def _fit_regressions(start: TextMap, captions: Floats, images: Floats, train: Pairs) -> Iterator[TextMap]:
    """Yield a ridge regression for each pair of penalties, with outputs of length 1 on average.

    W = (S_y + b)^-1 C (S_x + a)^-1, with the covariances of images and of captions, and C of both. Without the first
    factor (b infinite) it is the regression from captions to images; with it, the similarity does not depend on a few
    directions in which images vary most. a and b are in units of the mean variance of captions and of images.
    """
    centred, targets = captions[train.captions] - start.caption_mean, start.center_images(images[train.images])
    common = np.add.reduceat(centred, train.starts[:-1]).T @ targets / len(centred)
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    caption_variances, caption_axes = np.linalg.eigh(covariance)
    image_variances, image_axes = np.linalg.eigh((targets.T @ targets).astype(np.float64) / len(targets))
    common = image_axes.T @ common.T @ caption_axes
    for caption_penalty, image_penalty in itertools.product(CAPTION_PENALTIES, IMAGE_PENALTIES):
        scales = 1 / (caption_variances + caption_penalty * caption_variances.mean())
        if np.isfinite(image_penalty):
            scales = scales / (image_variances + image_penalty * image_variances.mean())[:, None]
        weight = image_axes @ (common * scales) @ caption_axes.T
        length = np.sqrt(np.sum((weight @ covariance) * weight))  # root mean square of the outputs
        weight = np.asarray(weight / max(length, MIN_LENGTH), np.float32)
        yield replace(start, weight=weight, penalties=(caption_penalty, image_penalty))


def _get_loss(text_map: TextMap) -> float:
    return text_map.loss


def _with_loss(text_map: TextMap, captions: Floats, images: Floats, batches: Sequence[Batch]) -> TextMap:
    """Return the map with its mean loss on some batches."""
    losses = [_compute_loss(text_map, captions, images, batch)[0] for batch in batches]
    return replace(text_map, loss=float(np.mean(losses)))


def _compute_loss(text_map: TextMap, captions: Floats, images: Floats, batch: Batch) -> tuple[float, Floats]:
    """Return the symmetric InfoNCE loss of a batch, and its gradient by the weight (D, E)."""
    inputs = captions[batch[0]] - text_map.caption_mean
    mapped, lengths = l2_normalize(inputs @ text_map.weight.T)
    targets = l2_normalize(text_map.center_images(images[batch[1]]))[0]
    loss, gradient = symmetric_info_nce(mapped, targets, TEMPERATURE)
    along = (mapped * gradient).sum(axis=1, keepdims=True)
    return loss, np.asarray(((gradient - mapped * along) / lengths).T @ inputs, np.float32)
