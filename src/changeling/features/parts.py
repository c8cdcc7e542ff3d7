"""Parts of features: safetensors files, each with the features of a range of images or of captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.datasets.dataset import Dataset
from changeling.errors import FeatureError, one_line
from changeling.parts import METADATA_KEY, PartStore, replace_separators

PART_SIZE = 256  # images in a part
CAPTION_PART_SIZE = 4096  # captions in a part
_TENSOR = "features"  # the name of the tensor in a part file


class FeatureHeader(BaseModel):
    """How the features of a part were made; stored as JSON in the metadata of its safetensors file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    view: str = ""  # how the images were changed before they were encoded; "" if they were not
    weights: str
    preprocessing: str  # "" for captions
    rows: tuple[int, int]  # the first row of images.parquet or captions.parquet, and the row after the last one
    images: str  # hash of the ids and file hashes of the images, or of the texts of the captions
    errors: dict[int, tuple[str, str]] = {}  # row -> (status, error) of each image without a feature


class FeaturePartFormat:
    """Part files of features: safetensors, with one float tensor (rows, D)."""

    suffix = ".safetensors"

    def write(self, path: Path, header: FeatureHeader, content: NDArray[np.floating[Any]]) -> None:
        """Write a part file."""
        # not `save_file`, which writes to a temporary file of its own, which a killed process would leave behind
        path.write_bytes(save({_TENSOR: content}, metadata={METADATA_KEY: header.model_dump_json()}))

    def read_header(self, path: Path) -> FeatureHeader:
        """Return the header of a part file. Raises FeatureError if the file is not a part of features."""
        try:
            with safe_open(path, "numpy") as part:
                return FeatureHeader.model_validate_json((part.metadata() or {})[METADATA_KEY])
        except (SafetensorError, KeyError, ValidationError, OSError) as error:
            raise invalid_part(path, one_line(error)) from None

    def read(self, path: Path) -> NDArray[np.floating[Any]]:
        """Return the features (rows, D), float32; NaN in the rows that the header lists as errors.

        Raises:
            FeatureError: the file is not a part of features, or another row is not finite.
        """
        header = self.read_header(path)
        start, stop = header.rows
        try:
            with safe_open(path, "numpy") as part:
                features: NDArray[np.float32] = part.get_tensor(_TENSOR).astype(np.float32, copy=False)
        except (SafetensorError, OSError) as error:
            raise invalid_part(path, one_line(error)) from None
        if features.ndim != 2 or len(features) != stop - start:
            raise invalid_part(path, f"{features.shape} for {stop - start} rows")
        finite = np.isfinite(features).all(axis=1)
        bad_rows = [int(row) for row in start + np.flatnonzero(~finite) if row not in header.errors]
        if bad_rows:
            raise FeatureError(
                f"{path}: the feature of row {bad_rows[0]} is not finite ({len(bad_rows)} row(s) in all); "
                "remove the file and extract again"
            )
        return features

    def read_dim(self, path: Path) -> int:
        """Return the length D of the features. Raises FeatureError if the file is not a part of features."""
        try:
            with safe_open(path, "numpy") as part:
                return int(part.get_slice(_TENSOR).get_shape()[1])
        except (SafetensorError, OSError, IndexError) as error:
            raise invalid_part(path, one_line(error)) from None


FeatureParts: TypeAlias = PartStore[FeatureHeader, NDArray[np.floating[Any]]]


def feature_parts(dataset: Dataset, name: str, part_size: int = PART_SIZE) -> FeatureParts:
    """The parts of the features of images that are stored under `name` (see `store_name`), written or not."""
    return PartStore(feature_folder(dataset, name), FeaturePartFormat(), len(dataset), part_size)


def caption_parts(dataset: Dataset, backbone: str, part_size: int = CAPTION_PART_SIZE) -> FeatureParts:
    """The parts of the features of captions by a backbone or text encoder, written or not."""
    folder, caption_count = feature_folder(dataset, backbone), dataset.captions.num_rows
    return PartStore(folder, FeaturePartFormat(), caption_count, part_size, prefix="captions")


def feature_folder(dataset: Dataset, name: str) -> Path:
    """The folder of the parts that are stored under `name`."""
    return dataset.path / "features" / replace_separators(name)


def store_name(backbone: str, view: str) -> str:
    """The name that the features of a backbone are stored under; `view` is how the images are changed, or ""."""
    return f"{backbone}+{view}" if view else backbone


def invalid_part(path: Path, reason: str) -> FeatureError:
    """The error for a file that is not a part of features."""
    return FeatureError(f"{path} is not a part of features ({reason}); remove it and extract again")
