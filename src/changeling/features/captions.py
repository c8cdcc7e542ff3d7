"""Features of captions, in the order of captions.parquet: what retrieval needs, by backbones with a text tower."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import TextBackbone
from changeling.datasets.dataset import Dataset
from changeling.errors import FeatureError
from changeling.features.store import Header, folder, read_header, read_values, write_part
from changeling.progress import Progress, silent

PART = 4096  # captions in a part


def extract_captions(dataset: Dataset, backbone: TextBackbone, *, progress: Progress = silent) -> None:
    """Write the features of every caption; parts that exist are kept.

    Raises:
        FeatureError: parts exist that other weights or captions made.
    """
    texts = dataset.captions["caption"].to_pylist()
    for start in range(0, len(texts), PART):
        some = texts[start : start + PART]
        path = _path(dataset, backbone.name, start // PART)
        header = _header(backbone.name, backbone.weights, start, some)
        if not path.exists():
            write_part(path, header, backbone.encode_text(some))
        elif read_header(path) != header:
            raise FeatureError(f"{path} was made from other captions or weights; remove it to extract again")
        progress(f"{backbone.name} captions", start + len(some), len(texts))


def has_captions(dataset: Dataset, backbone: str) -> bool:
    """Whether there are features of captions by a backbone."""
    return bool(dataset.captions.num_rows) and _path(dataset, backbone, 0).exists()


def load_captions(dataset: Dataset, backbone: str) -> NDArray[np.float32] | None:
    """The features of all captions (captions, D) by a backbone; None if there are none.

    Raises:
        FeatureError: parts are missing, or were made from other captions.
    """
    texts = dataset.captions["caption"].to_pylist()
    if not has_captions(dataset, backbone):
        return None
    blocks = []
    for start in range(0, len(texts), PART):
        some, path = texts[start : start + PART], _path(dataset, backbone, start // PART)
        if not path.exists():
            raise FeatureError(f"{path} is missing: extract {backbone} again")
        header = read_header(path)
        if header != _header(backbone, header.weights, start, some):
            raise FeatureError(f"{path} was made from other captions; remove it and extract again")
        blocks.append(read_values(path, len(some)))
    return np.concatenate(blocks)


def _path(dataset: Dataset, backbone: str, index: int) -> Path:
    return folder(dataset, backbone) / f"captions-{index:05d}.safetensors"


def _header(backbone: str, weights: str, start: int, texts: Sequence[str]) -> Header:
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]
    return Header(backbone=backbone, weights=weights, preprocessing="", rows=(start, start + len(texts)), images=digest)
