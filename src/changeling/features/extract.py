"""Run a backbone over the images of a dataset, part by part; parts that exist are kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling import engine
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.engine import Load
from changeling.errors import FeatureError, ImageError
from changeling.features.parts import PART_SIZE, FeatureHeader, FeatureParts, feature_parts, store_name
from changeling.files import explain_full_disk
from changeling.images.augmentations import Augmentation
from changeling.images.decode import read_file
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

BATCH = 8  # images that the backbone encodes at once


@dataclass(frozen=True, slots=True)
class Summary:
    """How many images an extraction encoded.

    Attributes:
        encoded: images encoded by this run.
        existing: images in parts that existed before.
        failed: images without a feature, by status.
    """

    encoded: int
    existing: int
    failed: Counter[str]


@dataclass(frozen=True, slots=True)
class Extraction:
    """Everything that defines an extraction.

    Attributes:
        view: how images are changed before they are encoded; None if they are not.
        part_size: how many images each part has.
    """

    dataset: Dataset
    backbone: Backbone
    view: Augmentation | None = None
    part_size: int = PART_SIZE

    @property
    def name(self) -> str:
        """The name that the features are stored under."""
        return store_name(self.backbone.name, self.view.name if self.view else "")

    @property
    def parts(self) -> FeatureParts:
        """The parts of the features, written or not."""
        return feature_parts(self.dataset, self.name, self.part_size)

    def make_header(self, index: int) -> FeatureHeader:
        """The header of a part all of whose images can be read."""
        return FeatureHeader(
            backbone=self.backbone.name,
            view=self.view.name if self.view else "",
            weights=self.backbone.weights,
            preprocessing=self.backbone.preprocessing.hash,
            rows=self.parts.row_range(index),
            images=self.dataset.hash_rows(self.part_size)[index],
        )


def extract(
    dataset: Dataset,
    backbone: Backbone,
    *,
    view: Augmentation | None = None,
    progress: Progress = silent,
    part_size: int = PART_SIZE,
) -> Summary:
    """Write the features of all images of `dataset`; parts that exist are kept.

    A run that was killed is resumed by the next one, with the same bytes as a run that was not. With a `view`, each
    image is changed before it is encoded, and the features are stored apart from those of the unchanged images.

    Raises:
        FeatureError: parts exist that were made from other images or with other weights or preprocessing, the disk is
            full, or no image can be read; no part is written then.
    """
    extraction = Extraction(dataset, backbone, view, part_size)
    parts, load = extraction.parts, image_loader(dataset, backbone.preprocessing, view)
    encoded = existing = 0
    failed: Counter[str] = Counter()
    for index in parts.indices:
        row_count = parts.count_rows([index])
        if parts.exists(index):
            header = read_checked_header(extraction, index)
            existing += row_count
        else:
            header = encode_part(extraction, index, load, progress)
            encoded += row_count - len(header.errors)
        failed.update(status for status, _ in header.errors.values())
        progress(extraction.name, parts.row_range(index)[1], len(dataset))
    if failed.total() == len(dataset):
        for index in parts.indices:
            parts.remove(index)
        counts = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        raise FeatureError(f"{dataset.path}: not one image can be read ({counts}); images.parquet says where they are")
    return Summary(encoded, existing, failed)


def image_loader(dataset: Dataset, preprocessing: Preprocessing, view: Augmentation | None = None) -> Load[int]:
    """A function that reads and preprocesses the image of a row: row -> pixels (3, H, W). It may raise ImageError."""

    def load(row: int) -> NDArray[np.float32]:
        image = decode_row(dataset, row, preprocessing)
        return preprocessing(view.apply(image, dataset.images["image_id"][row].as_py()) if view else image)

    return load


def decode_row(dataset: Dataset, row: int, preprocessing: Preprocessing) -> Image.Image:
    """Read the image of a row, at a size that is large enough for its preprocessing. Raises ImageError."""
    path, status, sha256 = (dataset.images[name][row].as_py() for name in ("path", "status", "sha256"))
    if status == "flagged":
        raise ImageError("flagged", "the safety checker flagged it")
    return preprocessing.decode(read_file(dataset.resolve_path(path), sha256)).image


def encode_part(extraction: Extraction, index: int, load: Load[int], progress: Progress = silent) -> FeatureHeader:
    """Encode the images of a part and write it; return its header, which says which images cannot be read.

    Raises:
        FeatureError: the disk is full.
    """
    dataset, backbone = extraction.dataset, extraction.backbone
    start, stop = extraction.parts.row_range(index)
    values = np.full((stop - start, backbone.dim), np.nan, dtype=np.float32)
    errors: dict[int, tuple[str, str]] = {}
    for encoded in engine.encode(range(start, stop), load, backbone, batch_size=BATCH):
        if encoded.feature is None:
            errors[encoded.job] = (encoded.status, encoded.error or "")
        else:
            values[encoded.job - start] = encoded.feature
        progress(extraction.name, encoded.job + 1, len(dataset))
    header = extraction.make_header(index).model_copy(update={"errors": errors})
    with explain_full_disk(dataset.path, FeatureError):
        extraction.parts.write(index, header, values)
    return header


def read_checked_header(extraction: Extraction, index: int) -> FeatureHeader:
    """Return the header of a part. Raises FeatureError unless this extraction would write the same part."""
    parts = extraction.parts
    header, expected = parts.read_header(index), extraction.make_header(index)
    for field in ("weights", "preprocessing", "rows", "images"):
        if getattr(header, field) != getattr(expected, field):
            raise FeatureError(
                f"{parts.path(index)} was made with other {field} ({getattr(header, field)}, now "
                f"{getattr(expected, field)}); move its folder away to extract again"
            )
    return header
