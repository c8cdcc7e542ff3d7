"""Features of transformed images: encoded once, and stored in parts beside the features of the dataset.

A part holds the features of a range of variants, which are images with a transformation each. It is written again if
its variants are others than before, so that a larger sample of the same images encodes only what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling import engine
from changeling.backbones.registry import Backbone, load_backbone
from changeling.datasets.dataset import Dataset
from changeling.errors import BackboneError, FeatureError
from changeling.features.extract import BATCH, decode_row
from changeling.features.parts import FeatureHeader, FeaturePartFormat, FeatureParts, feature_folder, store_name
from changeling.files import explain_full_disk
from changeling.images.transformations import REENCODING, TRANSFORMATIONS, VERSION, transform
from changeling.images.transforms import Preprocessing
from changeling.parts import PartStore
from changeling.progress import Progress, silent

VARIANTS_PER_PART = 288  # four images with every transformation at every strength
VIEW = f"transformed-{VERSION}"
MAX_SHORT_SIDE = 1024  # pixels; larger images are scaled down first, as large JPEG files are when they are decoded


@dataclass(frozen=True, slots=True)
class Variant:
    """An image, by its row in the dataset, with a transformation at a strength."""

    row: int
    transformation: str
    strength: float


@dataclass(frozen=True, slots=True)
class VariantSet:
    """Variants of a dataset's images whose features by a backbone are stored together.

    Attributes:
        header: of the backbone's features of the unchanged images, whose weights and preprocessing are expected.
        prefix: of the names of the part files.
        seed: of the random choices of transformations, with the id of the image.
    """

    dataset: Dataset
    header: FeatureHeader
    variants: Sequence[Variant]
    prefix: str
    seed: int

    @property
    def parts(self) -> FeatureParts:
        """The parts of the features, written or not."""
        return variant_parts(self.dataset, self.header.backbone, len(self.variants), self.prefix)

    def list_missing_parts(self) -> list[int]:
        """Return the indices of the parts that do not exist, or are of other variants, weights or preprocessing."""
        return [index for index in self.parts.indices if not self._has_part(index)]

    def make_header(self, index: int) -> FeatureHeader:
        """Return the header of a part all of whose variants can be encoded."""
        start, stop = self.parts.row_range(index)
        ids, hashes = (self.dataset.images[name] for name in ("image_id", "sha256"))
        described = [
            (ids[variant.row].as_py(), hashes[variant.row].as_py(), variant.transformation, variant.strength)
            for variant in self.variants[start:stop]
        ]
        digest = hashlib.sha256(json.dumps([self.seed, described]).encode()).hexdigest()[:12]
        return self.header.model_copy(update={"view": VIEW, "rows": (start, stop), "images": digest, "errors": {}})

    def _has_part(self, index: int) -> bool:
        if not self.parts.exists(index):
            return False
        try:
            return self.parts.read_header(index).model_copy(update={"errors": {}}) == self.make_header(index)
        except FeatureError:  # not a part of features
            return False


def variant_parts(dataset: Dataset, backbone: str, count: int, prefix: str) -> FeatureParts:
    """Return the store of the features of `count` variants by a backbone, written or not."""
    folder = feature_folder(dataset, store_name(backbone, VIEW))
    return PartStore(folder, FeaturePartFormat(), count, VARIANTS_PER_PART, prefix)


def encode_variants(variants: VariantSet, progress: Progress = silent) -> NDArray[np.float32]:
    """Return the features (N, D) of variants, NaN where the image cannot be read; encode those that are not stored.

    Raises:
        BackboneError, WeightsError: features are missing, and the backbone cannot be loaded, or has other weights or
            preprocessing than for the features of the unchanged images.
        FeatureError: the disk is full.
    """
    missing = variants.list_missing_parts()
    if missing:
        backbone = load_matching_backbone(variants.header)
        load = variant_loader(variants.dataset, backbone.preprocessing, variants.seed)
        for index in missing:
            _encode_part(variants, index, backbone, load, progress)
    parts = [variants.parts.read(index) for index in variants.parts.indices]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def load_matching_backbone(header: FeatureHeader) -> Backbone:
    """Load the backbone of some features. Raises BackboneError if it differs from when they were extracted."""
    backbone = load_backbone(header.backbone)
    for field, value in (("weights", backbone.weights), ("preprocessing", backbone.preprocessing.hash)):
        if getattr(header, field) != value:
            raise BackboneError(
                f"{header.backbone} has other {field} ({value}) than when the features were extracted "
                f"({getattr(header, field)}); extract them again"
            )
    return backbone


def variant_loader(
    dataset: Dataset, preprocessing: Preprocessing, seed: int
) -> Callable[[Variant], NDArray[np.float32]]:
    """A function that makes the pixels (3, H, W) of a variant; it may raise ImageError."""
    known = TRANSFORMATIONS | {REENCODING.name: REENCODING}

    @lru_cache(maxsize=2)  # the variants of an image follow each other
    def decode(row: int) -> Image.Image:
        image = decode_row(dataset, row, preprocessing)
        factor = min(image.size) // MAX_SHORT_SIDE
        return image.reduce(factor) if factor > 1 else image

    def load(variant: Variant) -> NDArray[np.float32]:
        key = f"{seed}/{dataset.images['image_id'][variant.row].as_py()}"
        transformation = known[variant.transformation]
        return preprocessing(transform(decode(variant.row), transformation, variant.strength, key))

    return load


def _encode_part(
    variants: VariantSet,
    index: int,
    backbone: Backbone,
    load: Callable[[Variant], NDArray[np.float32]],
    report: Progress,
) -> None:
    """Encode the variants of a part and write it."""
    start, stop = variants.parts.row_range(index)
    values = np.full((stop - start, backbone.dim), np.nan, dtype=np.float32)
    errors: dict[int, tuple[str, str]] = {}
    jobs = variants.variants[start:stop]
    for place, encoded in enumerate(engine.encode(jobs, load, backbone, batch_size=BATCH)):
        if encoded.feature is None:
            errors[start + place] = (encoded.status, encoded.error or "")
        else:
            values[place] = encoded.feature
        report(f"{variants.prefix} images, {backbone.name}", start + place + 1, len(variants.variants))
    header = variants.make_header(index).model_copy(update={"errors": errors})
    with explain_full_disk(variants.dataset.path, FeatureError):
        variants.parts.write(index, header, values)
