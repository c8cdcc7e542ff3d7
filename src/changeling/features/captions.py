"""Features of captions, in the order of captions.parquet, by text encoders; retrieval needs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.text_encoder import TextEncoder
from changeling.datasets.dataset import Dataset
from changeling.errors import FeatureError
from changeling.features.parts import CAPTION_PART_SIZE, FeatureHeader, caption_parts
from changeling.files import explain_full_disk
from changeling.progress import Progress, silent


def extract_captions(
    dataset: Dataset, encoder: TextEncoder, *, progress: Progress = silent, part_size: int = CAPTION_PART_SIZE
) -> None:
    """Write the features of all captions by a backbone's text tower or a text encoder; parts that exist are kept.

    Raises:
        FeatureError: parts exist that were made from other captions or with other weights, or the disk is full.
    """
    parts = caption_parts(dataset, encoder.name, part_size)
    captions = dataset.captions["caption"].to_pylist()
    for index in parts.indices:
        start, stop = parts.row_range(index)
        header = make_caption_header(encoder.name, encoder.weights, start, captions[start:stop])
        if not parts.exists(index):
            features = encoder.encode_text(captions[start:stop])
            with explain_full_disk(dataset.path, FeatureError):
                parts.write(index, header, features)
        elif parts.read_header(index) != header:
            path = parts.path(index)
            raise FeatureError(f"{path} was made from other captions or weights; remove it to extract again")
        progress(f"{encoder.name} captions", stop, len(captions))


def has_caption_features(dataset: Dataset, backbone: str) -> bool:
    """Whether there are features of captions by a backbone or text encoder."""
    parts = caption_parts(dataset, backbone)
    return bool(parts.indices) and parts.exists(0)


def load_caption_features(
    dataset: Dataset, backbone: str, part_size: int = CAPTION_PART_SIZE
) -> NDArray[np.float32] | None:
    """The features of all captions by a backbone or text encoder (captions, D), float32; None if there are none.

    Raises:
        FeatureError: parts are missing, or were made from other captions.
    """
    if not has_caption_features(dataset, backbone):
        return None
    parts = caption_parts(dataset, backbone, part_size)
    captions = dataset.captions["caption"].to_pylist()
    blocks = []
    for index in parts.indices:
        start, stop = parts.row_range(index)
        if not parts.exists(index):
            raise FeatureError(f"{parts.path(index)} is missing: extract {backbone} again")
        header = parts.read_header(index)
        if header != make_caption_header(backbone, header.weights, start, captions[start:stop]):
            raise FeatureError(f"{parts.path(index)} was made from other captions; remove it and extract again")
        blocks.append(parts.read(index))
    return np.concatenate(blocks)


def make_caption_header(backbone: str, weights: str, start: int, captions: Sequence[str]) -> FeatureHeader:
    """The header of a part with the features of these captions, the first of which is row `start`."""
    digest = hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:12]
    rows = (start, start + len(captions))
    return FeatureHeader(backbone=backbone, weights=weights, preprocessing="", rows=rows, images=digest)
