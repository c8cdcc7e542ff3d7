"""The training set of a detector: labels and sources of images, their weights, and their features in two forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.features.extract import extract
from changeling.features.parts import store_name
from changeling.features.store import load_features
from changeling.images.augmentations import CROPPED_AND_RESAVED
from changeling.progress import Progress
from changeling.stats.metrics import Floats, Ints

MIN_IMAGES = 10  # of each class

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageRows:
    """The columns of N images that training needs besides their features, each of shape (N,)."""

    labels: Ints
    clusters: Ints
    sources: NDArray[np.object_]
    generators: NDArray[np.object_]  # None for a parent

    def select(self, indices: Ints) -> ImageRows:
        """Return the rows at `indices`."""
        return ImageRows(self.labels[indices], self.clusters[indices], self.sources[indices], self.generators[indices])


@dataclass(frozen=True, slots=True)
class TrainingFeatures:
    """Features of the same N images in two forms, each of shape (N, D)."""

    images: Matrix  # as they are
    copies: Matrix  # resaved, cropped and mirrored at random


def read_rows(dataset: Dataset, indices: Ints) -> ImageRows:
    """Return the rows of a dataset at `indices`.

    Raises:
        DatasetError: fewer than MIN_IMAGES of them are real, or fake.
    """
    sources, generators = (dataset.column(name)[indices] for name in ("source", "generator"))
    rows = ImageRows(dataset.labels[indices], dataset.clusters[indices], sources, generators)
    if min(np.bincount(rows.labels, minlength=2)) < MIN_IMAGES:
        raise DatasetError(
            f"{dataset.path}: training a detector needs at least {MIN_IMAGES} real and {MIN_IMAGES} fake images"
        )
    return rows


def extract_training_features(
    dataset: Dataset, backbone: Backbone, progress: Progress
) -> tuple[TrainingFeatures, Ints]:
    """Extract missing features; return those of all readable images, and the images' indices in the dataset (N,).

    Raises:
        FeatureError: existing features were extracted with other weights or from other images.
    """
    extracted = []
    for augmentation in (None, CROPPED_AND_RESAVED):
        extract(dataset, backbone, view=augmentation, progress=progress)
        name = store_name(backbone.name, augmentation.name if augmentation else "")
        extracted.append(load_features(dataset, name))
    indices = np.flatnonzero(np.all([features.valid for features in extracted], axis=0))
    return TrainingFeatures(*(features.values[indices] for features in extracted)), indices


def compute_sample_weights(rows: ImageRows, generator_weights: Mapping[str, float] = {}) -> Floats:
    """Return a weight for each image (N,), with mean 1: both classes have equal weight, as have all sources of a class.

    Fakes by a generator in `generator_weights` are then multiplied by its weight.
    """
    groups = list(zip(rows.labels, rows.sources, strict=True))
    group_sizes = Counter(groups)
    weights = np.array([1.0 / group_sizes[group] for group in groups])
    weights *= [generator_weights.get(name, 1.0) for name in rows.generators]
    for label in (0, 1):
        weights[rows.labels == label] *= 0.5 * len(weights) / weights[rows.labels == label].sum()
    return weights
