"""Feature parts on disk: safetensors files in the order of images.parquet, whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.datasets.dataset import Dataset
from changeling.errors import FeatureError, one_line
from changeling.files import atomic_write

PART = 256  # images in a part: the unit of work, of resuming and of scaling out


class Header(BaseModel):
    """What a part says of itself, in the metadata of its safetensors file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    view: str = ""  # how the images were changed first; "" is as they are
    weights: str
    preprocessing: str
    rows: tuple[int, int]  # first row of images.parquet, and the row after the last
    images: str  # hash of the image files' hashes: a part of other images is another part
    errors: dict[int, tuple[str, str]] = {}  # row -> (status, error) of images without a feature


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a dataset by one backbone.

    Attributes:
        header: of the first part; `backbone`, `weights` and `preprocessing` are those of all.
        values: float32 (N, D), in the order of images.parquet; NaN where an image could not be read.
        valid: bool (N,): which rows have a feature.
    """

    header: Header
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


def folder(dataset: Dataset, backbone: str) -> Path:
    """Where the parts of a backbone are: its name, with the separators of paths replaced."""
    return dataset.path / "features" / backbone.replace("/", "_").replace(":", "_")


def store_name(backbone: str, view: str) -> str:
    """The name that a backbone's features are kept under."""
    return f"{backbone}+{view}" if view else backbone


def part_path(dataset: Dataset, backbone: str, index: int) -> Path:
    """Path of the part with this index."""
    return folder(dataset, backbone) / f"part-{index:05d}.safetensors"


def available(dataset: Dataset) -> tuple[str, ...]:
    """Names of the backbones that have features of the images as they are, sorted."""
    firsts = sorted((dataset.path / "features").glob("*/part-00000.safetensors"))
    return tuple(header.backbone for header in map(read_header, firsts) if not header.view)


def has_any(dataset: Dataset, backbone: str) -> bool:
    """Whether a backbone has a feature of a single image, or may get one from parts that are not there yet."""
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        path = part_path(dataset, backbone, index)
        if not path.exists() or np.isfinite(read_values(path, stop - start)).all(axis=1).any():
            return True
    return False


def missing_rows(dataset: Dataset, backbone: str) -> int:
    """How many images are in parts that are not there yet. Raises FeatureError if a part is of other images."""
    missing = 0
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        path = part_path(dataset, backbone, index)
        if not path.exists():
            missing += stop - start
        elif read_header(path).images != images_hash(dataset, start, stop):
            raise other_images(path)
    return missing


def write_part(path: Path, header: Header, values: NDArray[np.floating]) -> None:
    """Write a part under a temporary name and rename it last."""
    with atomic_write(path) as temporary:
        # not save_file, which writes to a temporary file of its own that a kill would leave behind
        temporary.write_bytes(save({"features": values}, metadata={"changeling": header.model_dump_json()}))


def read_header(path: Path) -> Header:
    """Read what a part says of itself. Raises FeatureError if it is not a part."""
    try:
        with safe_open(path, "numpy") as part:
            return Header.model_validate_json((part.metadata() or {})["changeling"])
    except (SafetensorError, KeyError, ValidationError, OSError) as error:
        raise _no_part(path, one_line(error)) from None


def read_dim(path: Path) -> int:
    """The length of a part's features. Raises FeatureError if it is not a part."""
    try:
        with safe_open(path, "numpy") as part:
            return int(part.get_slice("features").get_shape()[1])
    except (SafetensorError, OSError, IndexError) as error:
        raise _no_part(path, one_line(error)) from None


def load_features(dataset: Dataset, backbone: str) -> Features:
    """Read all features of a dataset by a backbone.

    Raises:
        FeatureError: parts are missing, or were made from other images, weights or preprocessing.
    """
    values = np.empty((0, 0), np.float32)
    headers: list[Header] = []
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        path = part_path(dataset, backbone, index)
        if not path.exists():
            raise FeatureError(
                f"{dataset.path} has no features by {backbone} for rows {start} to {stop - 1}; "
                f"run `changeling extract {dataset.path} --backbone {backbone}`"
            )
        header = read_header(path)
        expected = header.model_copy(update={"rows": (start, stop), "images": images_hash(dataset, start, stop)})
        if header != expected:
            raise other_images(path)
        headers.append(header)
        block = read_values(path, stop - start)
        if not index:
            values = np.empty((len(dataset), block.shape[1]), np.float32)
        elif block.shape[1] != values.shape[1]:
            raise _no_part(path, f"{block.shape[1]} columns, where the first part has {values.shape[1]}")
        values[start:stop] = block
    _agree(headers, folder(dataset, backbone))
    return Features(headers[0], values, np.asarray(np.isfinite(values.sum(axis=1, dtype=np.float64))))


def part_rows(count: int) -> list[tuple[int, int]]:
    """First row and row after the last of each part, for `count` images."""
    return [(start, min(start + PART, count)) for start in range(0, count, PART)]


def images_hash(dataset: Dataset, start: int, stop: int) -> str:
    """Twelve hexadecimal digits over the ids and file hashes of some rows."""
    columns = [dataset.images[name].slice(start, stop - start).to_pylist() for name in ("image_id", "sha256")]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:12]


def read_values(path: Path, count: int) -> NDArray[np.float32]:
    """The features of one part (count, D). Raises FeatureError if it is not one."""
    try:
        with safe_open(path, "numpy") as part:
            values: NDArray[np.float32] = part.get_tensor("features").astype(np.float32, copy=False)
    except (SafetensorError, OSError) as error:
        raise _no_part(path, one_line(error)) from None
    if values.ndim != 2 or len(values) != count:
        raise _no_part(path, f"{values.shape} for {count} images")
    return values


def other_images(path: Path) -> FeatureError:
    """What is said of a part of images that the dataset no longer has."""
    return FeatureError(f"{path} was made from other images; move its folder away and extract again")


def _no_part(path: Path, reason: str) -> FeatureError:
    return FeatureError(f"{path} is not a part of features ({reason}); remove it and extract again")


def _agree(headers: Sequence[Header], where: Path) -> None:
    if len({(header.backbone, header.weights, header.preprocessing) for header in headers}) > 1:
        raise FeatureError(f"the parts of {where} were made by different weights or preprocessing; extract again")
