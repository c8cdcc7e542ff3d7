"""Samples of a dataset's images, for experiments that change images and encode them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.backbones.registry import check_backbone
from changeling.datasets.dataset import Dataset
from changeling.engine import count_decoding_threads
from changeling.errors import BackboneError, DatasetError
from changeling.experiments import probe
from changeling.experiments.base import ENCODING_MEMORY, MIB, Context, Cost, Machine, Settings
from changeling.experiments.linear_probe import check_probe, select_fitting_rows
from changeling.experiments.selection import has_both_classes
from changeling.features.transformed import variant_parts

SECONDS_TO_TRANSFORM = 0.03  # an image of 400 x 600 pixels on one core, with decoding and preprocessing


class SampleSettings(Settings):
    """How many images an experiment changes and encodes."""

    images: int = Field(ge=2, description="test images, in whole clusters")
    training_images: int = Field(ge=4, description="images to train on")


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the dataset that are used: to fit probes on, to choose C on (none if it is given), and to test on."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def draw_sample(context: Context, settings: SampleSettings) -> Sample:
    """Draw the rows of the sample. The rows of a smaller sample are the first of a larger one."""
    dataset, readable = context.dataset, _find_readable(context.dataset)
    probe_settings = context.get_settings(probe.EXPERIMENT)
    train, val = select_fitting_rows(dataset, readable, probe_settings, context.seed)
    test = np.flatnonzero(readable & (dataset.column("split") == "test"))
    train = sample_clusters(dataset, train, settings.training_images, context.seed)
    val_images = max(settings.training_images // 4, 4) if probe_settings.C == "tuned" else 0
    val = sample_clusters(dataset, val, val_images, context.seed)
    return Sample(train, val, sample_clusters(dataset, test, settings.images, context.seed))


def sample_clusters(dataset: Dataset, rows: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """Draw random clusters until they have a number of images; return their rows, in the order drawn.

    Clusters with a real image and clusters with a fake one take turns, so that both classes are there even if many
    clusters are a single image.
    """
    rng = np.random.default_rng(seed)
    clusters, labels = dataset.clusters[rows], dataset.labels[rows]
    turns = zip_longest(*(rng.permutation(np.unique(clusters[labels == label])).tolist() for label in (0, 1)))
    order = [cluster for cluster in dict.fromkeys(chain.from_iterable(turns)) if cluster is not None]
    sorted_rows = rows[np.argsort(clusters, kind="stable")]
    starts = np.searchsorted(dataset.clusters[sorted_rows], order, "left")
    stops = np.searchsorted(dataset.clusters[sorted_rows], order, "right")
    sampled: list[int] = []
    for start, stop in zip(starts, stops, strict=True):
        if len(sampled) >= images:
            break
        sampled += sorted_rows[start:stop].tolist()
    return np.array(sampled, dtype=np.int64)


def check_sample(context: Context, settings: SampleSettings) -> None:
    """Check that there are image files, both classes, and a backbone that may encode them.

    Raises:
        DatasetError: one of these is missing.
    """
    dataset = context.dataset
    check_probe(dataset, _find_readable(dataset), context.get_settings(probe.EXPERIMENT), context.seed)
    sample = draw_sample(context, settings)
    if not has_both_classes(dataset.labels[sample.test]):
        raise DatasetError(f"{dataset.path}: the test split needs real and fake images")
    paths = dataset.column("path")
    if not any(dataset.resolve_path(paths[row]).is_file() for row in sample.test):
        raise DatasetError(f"{dataset.path}: the image files do not exist, so they cannot be transformed")
    errors = []
    for backbone in context.backbones:
        try:
            check_backbone(backbone)
        except BackboneError as error:
            errors.append(str(error))
    if len(errors) == len(context.backbones):
        raise DatasetError(f"{dataset.path}: no backbone can encode transformed images: {'; '.join(errors)}")


def estimate_encoding(context: Context, counts: Mapping[str, int], machine: Machine) -> Cost:
    """Return the estimated cost of encoding variants that are not stored yet.

    Args:
        counts: how many variants each backbone encodes, by the prefix that they are stored under.
    """
    seconds = disk = 0.0
    encoded = 0
    for backbone in context.backbones:
        stores = [variant_parts(context.dataset, backbone, count, prefix) for prefix, count in counts.items()]
        missing = sum(parts.count_rows(parts.missing) for parts in stores)
        encoded += missing
        seconds += 10 + machine.estimate_encoding(backbone, missing)
        seconds += missing * SECONDS_TO_TRANSFORM / count_decoding_threads()
        disk += MIB + 4 * missing * machine.get_dim(backbone)
    return Cost(seconds, ENCODING_MEMORY, disk, input=f"{encoded:,} transformed images to encode")


def _find_readable(dataset: Dataset) -> NDArray[np.bool_]:
    """Return a mask of the images that could be read when they were imported (N,)."""
    is_readable: NDArray[np.bool_] = dataset.column("status") == "ok"
    return is_readable
