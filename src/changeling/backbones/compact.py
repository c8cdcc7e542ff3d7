"""Compact graphs: the same features as a backbone's exported graph up to rounding, at less work. For detection only.

The weights of a compact graph have a name of their own, so its features are never mixed with exact ones in a store.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from changeling.backbones.class_tokens import LAYER, build_class_token_graph
from changeling.backbones.onnx import OnnxBackbone, open_session, write_metadata
from changeling.backbones.packaged import CLIP_VIT_B16, PackagedModel, cached_onnx_file
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.progress import Progress

COMPACT_SUFFIX = "-compact"  # of the weights
_VERSION = 1  # of the graph; increase it when the features change
_TOLERANCE = 1e-4  # largest difference from the exported graph, relative to its largest value
_BATCH = 2  # images: more do not fit into the caches of a core

GRAPHS = {"clip-vit-b16": (CLIP_VIT_B16, build_class_token_graph)}  # by alias


class CompactBackbone(OnnxBackbone):
    """A compact graph, run in batches of the size at which it is fastest."""

    def __init__(self, path: Path, alias: str) -> None:
        """Open the graph at `path`. Raises BackboneError if it is not one."""
        super().__init__(path, alias, LAYER)
        self.name = f"{alias}@{LAYER}"

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        batches = [pixels[start : start + _BATCH] for start in range(0, max(len(pixels), 1), _BATCH)]
        return np.concatenate([super(CompactBackbone, self).encode(batch) for batch in batches])


def has_compact_graph(name: str) -> bool:
    """Return whether the backbone `name`, with its layer, has a compact graph."""
    alias, _, layer = name.partition("@")
    return alias in GRAPHS and layer == LAYER


def is_compact_graph_cached(name: str) -> bool:
    """Return whether the compact graph of the backbone `name` has been made. Raises KeyError if it has none."""
    return _find_graph(name.partition("@")[0]).exists()


def load_compact_backbone(name: str, progress: Progress) -> CompactBackbone:
    """Load the compact graph of a backbone; on first use, make it and compare its features with the exported graph's.

    Raises:
        BackboneError: the backbone has none, or its features differ.
        WeightsError: the weights cannot be fetched.
    """
    if not has_compact_graph(name):
        known = ", ".join(f"{alias}@{LAYER}" for alias in GRAPHS)
        raise BackboneError(f"{name} has no compact graph; these have one: {known}")
    alias = name.partition("@")[0]
    model, build = GRAPHS[alias]
    path = _find_graph(alias)
    if not path.exists():
        exported = cached_onnx_file(alias, model, progress)
        graph = build(onnx.load(exported))
        write_metadata(graph, weights=model.weights + COMPACT_SUFFIX, preprocessing=model.preprocessing)
        with atomic_write(path) as temporary:
            onnx.save(graph, temporary)
            _check_features(temporary, exported, model)
    return CompactBackbone(path, alias)


def _find_graph(alias: str) -> Path:
    """Return the path of a compact graph in the cache, made or not."""
    model, _ = GRAPHS[alias]
    return cache_dir() / f"{alias}-{model.weights}-{model.preprocessing.hash}{COMPACT_SUFFIX}-{_VERSION}.onnx"


def _check_features(compact: Path, exported: Path, model: PackagedModel) -> None:
    """Compare the features of two graphs on random images. Raises BackboneError if they differ."""
    side = model.preprocessing.crop
    pixels = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)
    expected, features = (open_session(path).run([LAYER], {"pixel_values": pixels})[0] for path in (exported, compact))
    difference = np.inf
    if features.shape == expected.shape:
        difference = float(np.abs(features - expected).max() / np.abs(expected).max())
    if not difference <= _TOLERANCE:
        raise BackboneError(f"the compact graph differs from the exported one by {difference:.1e} of the largest value")
