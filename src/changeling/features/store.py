"""Read the features of a dataset, and find out which are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.errors import FeatureError
from changeling.features.parts import (
    PART_SIZE,
    FeatureHeader,
    FeaturePartFormat,
    FeatureParts,
    feature_parts,
    invalid_part,
)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a dataset by one backbone.

    Attributes:
        header: of the first part; `backbone`, `weights` and `preprocessing` are those of all parts.
        values: float32 (N, D), in the order of images.parquet; NaN where an image could not be read.
        valid: bool (N,): which rows have a feature.
    """

    header: FeatureHeader
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


def list_extracted_backbones(dataset: Dataset) -> tuple[str, ...]:
    """The names of the backbones that have features of the unchanged images, sorted by folder."""
    first_parts = sorted((dataset.path / "features").glob("*/part-00000.safetensors"))
    headers = map(FeaturePartFormat().read_header, first_parts)
    return tuple(header.backbone for header in headers if not header.view)


def has_features(dataset: Dataset, backbone: str, part_size: int = PART_SIZE) -> bool:
    """Whether a backbone has a feature of any image. A part that is not written yet counts as having one."""
    parts = feature_parts(dataset, backbone, part_size)
    return any(not parts.exists(index) or _has_finite_row(parts.read(index)) for index in parts.indices)


def count_missing_rows(dataset: Dataset, backbone: str, part_size: int = PART_SIZE) -> int:
    """How many images are in parts that are not written yet. Raises FeatureError if a part is of other images."""
    parts = feature_parts(dataset, backbone, part_size)
    missing = parts.missing
    for index in sorted({*parts.indices} - {*missing}):
        if parts.read_header(index).images != dataset.hash_rows(part_size)[index]:
            raise _other_images(parts.path(index))
    return parts.count_rows(missing)


def read_feature_dim(dataset: Dataset, backbone: str) -> int | None:
    """The length D of the features by a backbone; None if the first part is not written yet.

    Raises:
        FeatureError: the first part is not a part of features.
    """
    first_part = feature_parts(dataset, backbone).path(0)
    return FeaturePartFormat().read_dim(first_part) if first_part.exists() else None


def load_features(dataset: Dataset, name: str, part_size: int = PART_SIZE) -> Features:
    """Read all features that are stored under `name` (see `store_name`).

    Raises:
        FeatureError: parts are missing, or were made from other images, weights or preprocessing.
    """
    parts = feature_parts(dataset, name, part_size)
    headers = [_read_checked_header(dataset, name, parts, index) for index in parts.indices]
    if len({(header.backbone, header.weights, header.preprocessing) for header in headers}) > 1:
        raise FeatureError(
            f"the parts of {parts.folder} were made by different weights or preprocessing; extract again"
        )
    values = _read_values(parts)
    return Features(headers[0], values, np.asarray(np.isfinite(values.sum(axis=1, dtype=np.float64))))


def _read_checked_header(dataset: Dataset, name: str, parts: FeatureParts, index: int) -> FeatureHeader:
    """Return the header of a part. Raises FeatureError if the part is missing or is of other images."""
    start, stop = parts.row_range(index)
    if not parts.exists(index):
        raise FeatureError(
            f"{dataset.path} has no features by {name} for rows {start} to {stop - 1}; "
            f"run `changeling extract {dataset.path} --backbone {name}`"
        )
    header = parts.read_header(index)
    if header.rows != (start, stop) or header.images != dataset.hash_rows(parts.part_size)[index]:
        raise _other_images(parts.path(index))
    return header


def _read_values(parts: FeatureParts) -> NDArray[np.float32]:
    """The features of all parts (N, D), in one array. Raises FeatureError if their lengths D differ."""
    first = parts.read(0)
    values = np.empty((parts.row_count, first.shape[1]), np.float32)
    for index in parts.indices:
        start, stop = parts.row_range(index)
        block = parts.read(index) if index else first
        if block.shape[1] != values.shape[1]:
            reason = f"{block.shape[1]} columns, where the first part has {values.shape[1]}"
            raise invalid_part(parts.path(index), reason)
        values[start:stop] = block
    return values


def _has_finite_row(values: NDArray[np.floating]) -> bool:
    return bool(np.isfinite(values).all(axis=1).any())


def _other_images(path: Path) -> FeatureError:
    return FeatureError(f"{path} was made from other images; move its folder away and extract again")
