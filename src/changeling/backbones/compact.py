"""Compact graphs: the same features as a backbone's exported graph up to rounding, at less work. For detection only.

The weights of a compact graph have a name of their own, so its features are never mixed with exact ones in a store.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray

from changeling.backbones.class_tokens import LAYER, build_class_token_graph
from changeling.backbones.onnx import OnnxBackbone, count_cores, open_session, write_metadata
from changeling.backbones.packaged import CLIP_VIT_B16, PackagedModel, cached_onnx_file
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.progress import Progress

COMPACT_SUFFIX = "-compact"  # of the weights
_VERSION = 2  # of the files; increase it when they or the features change
_TOLERANCE = 1e-4  # largest difference from the exported graph, relative to its largest value
_BATCH = 2  # images: more do not fit into the caches of a core
_MANY = 32  # images after which it pays to open the graph once more
_LARGE = 1024  # bytes of a tensor that is stored beside the graph, in a file that is mapped into memory

GRAPHS = {"clip-vit-b16": (CLIP_VIT_B16, build_class_token_graph)}  # by alias


class CompactBackbone(OnnxBackbone):
    """A compact graph, run in batches of the size at which it is fastest.

    All cores work on one batch; after many images, if there are enough at once, each core works on a batch of its own,
    which is faster. Features have the same bits in both ways.
    """

    def __init__(self, path: Path, alias: str) -> None:
        """Open the graph at `path`. Raises BackboneError if it is not one."""
        super().__init__(path, alias, LAYER)
        self.name = f"{alias}@{LAYER}"
        self._open_with_one_thread = partial(OnnxBackbone, path, alias, LAYER, threads=1)
        self._image_count = 0

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        self._image_count += len(pixels)
        cores = count_cores()
        if cores > 1 and len(pixels) >= cores and self._image_count >= _MANY:
            batches = _split(pixels, min(_BATCH, -(-len(pixels) // cores)))
            with ThreadPoolExecutor(cores) as pool:
                return np.concatenate(list(pool.map(self._with_one_thread.encode, batches)))
        return np.concatenate([super(CompactBackbone, self).encode(batch) for batch in _split(pixels, _BATCH)])

    @cached_property
    def _with_one_thread(self) -> OnnxBackbone:
        return self._open_with_one_thread()


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
        with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary, data = Path(folder) / path.name, f"{path.name}.data"
            onnx.save(graph, temporary, save_as_external_data=True, location=data, size_threshold=_LARGE)
            _check_features(temporary, exported, model)
            (Path(folder) / data).chmod(temporary.stat().st_mode)  # of which onnx takes away all but the owner's
            (Path(folder) / data).replace(path.with_name(data))
            temporary.replace(path)  # last: a graph that exists has its data
    return CompactBackbone(path, alias)


def _split(pixels: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Return batches of a size; no images are an empty batch, which the graph refuses."""
    return [pixels[start : start + size] for start in range(0, max(len(pixels), 1), size)]


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
