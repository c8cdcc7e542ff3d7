"""Graphs for detection only, with less work than a backbone's exported graph: compact or quantized.

A compact graph gives the same features up to rounding, a quantized one features that differ a little. Their weights
have names of their own, so their features are never mixed with exact ones in a store.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.onnx import OnnxBackbone, count_cores, measure_difference, open_session, write_metadata
from changeling.backbones.packaged import CLIP_VIT_B16, PackagedModel, cached_onnx_file
from changeling.backbones.sample_pictures import load_pictures
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto  # once a graph is in the cache, the package is not imported: that takes a while

LAYER = "blocks"  # the class tokens of all blocks

_BATCH = 2  # images: more do not fit into the caches of a core
_MANY = 32  # images after which it pays to open the graph once more
_LARGE = 1024  # bytes of a tensor that is stored beside the graph, in a file that is mapped into memory

MODELS = {"clip-vit-b16": CLIP_VIT_B16}  # that have such graphs, by alias


@dataclass(frozen=True, slots=True)
class GraphKind:
    """How graphs of a kind are made of exported ones.

    Attributes:
        name: the ending of the weights.
        version: of the files; increase it when they or the features change.
        tolerance: the largest difference of a feature from the exported graph's, relative to its largest value.
        build: returns the graph.
    """

    name: str
    version: int
    tolerance: float
    build: Callable[[ModelProto, Preprocessing], ModelProto]


def _build_compact(exported: ModelProto, _: Preprocessing) -> ModelProto:
    from changeling.backbones.class_tokens import build_class_token_graph

    return build_class_token_graph(exported)


def _build_quantized(exported: ModelProto, preprocessing: Preprocessing) -> ModelProto:
    from changeling.backbones.quantized import build_quantized_graph

    return build_quantized_graph(exported, load_pictures(preprocessing))


COMPACT = GraphKind("compact", 2, 1e-4, _build_compact)
QUANTIZED = GraphKind("quantized", 1, 0.1, _build_quantized)


class CompactBackbone(OnnxBackbone):
    """A compact or quantized graph, run on a processor in batches of the size at which it is fastest.

    All cores work on one batch; after many images, if there are enough at once, each core works on a batch of its own,
    which is faster. Features have the same bits in both ways. A GPU gets all images at once.
    """

    def __init__(self, path: Path, alias: str) -> None:
        """Open the graph at `path`. Raises BackboneError if it is not one."""
        super().__init__(path, alias, LAYER)
        self.name = f"{alias}@{LAYER}"
        self._open_with_one_thread = partial(OnnxBackbone, path, alias, LAYER, threads=1)
        self._image_count = 0

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Preprocessed images (B, 3, H, W) -> features (B, D), float32. Raises BackboneError."""
        if not self.is_on_processor:
            return super().encode(pixels)
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
    return alias in MODELS and layer == LAYER


def load_compact_backbone(name: str, progress: Progress) -> CompactBackbone:
    """Load the compact graph of a backbone, as `load_graph` does."""
    return load_graph(name, COMPACT, progress)


def load_quantized_backbone(name: str, progress: Progress) -> CompactBackbone:
    """Load the quantized graph of a backbone, as `load_graph` does."""
    return load_graph(name, QUANTIZED, progress)


def load_graph(name: str, kind: GraphKind, progress: Progress) -> CompactBackbone:
    """Load a graph of a backbone; on first use, make it and compare its features with the exported graph's.

    Raises:
        BackboneError: the backbone has none, or its features differ.
        WeightsError: the weights cannot be fetched.
    """
    if not has_compact_graph(name):
        known = ", ".join(f"{alias}@{LAYER}" for alias in MODELS)
        raise BackboneError(f"{name} has no {kind.name} graph; these have one: {known}")
    alias = name.partition("@")[0]
    model, path = MODELS[alias], _find_graph(alias, kind)
    if not path.exists():
        import onnx

        exported = cached_onnx_file(alias, model, progress)
        graph = kind.build(onnx.load(exported), model.preprocessing)
        write_metadata(graph, weights=f"{model.weights}-{kind.name}", preprocessing=model.preprocessing)
        with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary, data = Path(folder) / path.name, f"{path.name}.data"
            onnx.save(graph, temporary, save_as_external_data=True, location=data, size_threshold=_LARGE)
            _check_features(temporary, exported, model, kind)
            (Path(folder) / data).chmod(temporary.stat().st_mode)  # of which onnx takes away all but the owner's
            (Path(folder) / data).replace(path.with_name(data))
            temporary.replace(path)  # last: a graph that exists has its data
    return CompactBackbone(path, alias)


def _split(pixels: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Return batches of a size; no images are an empty batch, which the graph refuses."""
    return [pixels[start : start + size] for start in range(0, max(len(pixels), 1), size)]


def strip_kind(weights: str) -> str:
    """Return the hash of weights without the kind of their graph."""
    return weights.removesuffix(f"-{COMPACT.name}").removesuffix(f"-{QUANTIZED.name}")


def _find_graph(alias: str, kind: GraphKind) -> Path:
    """Return the path of a graph in the cache, made or not."""
    model = MODELS[alias]
    return cache_dir() / f"{alias}-{model.weights}-{model.preprocessing.hash}-{kind.name}-{kind.version}.onnx"


def _check_features(made: Path, exported: Path, model: PackagedModel, kind: GraphKind) -> None:
    """Compare the features of two graphs on pictures and on noise. Raises BackboneError if they differ."""
    noise = np.random.default_rng(0).normal(size=(1, 3, *[model.preprocessing.crop] * 2)).astype(np.float32)
    pixels = np.concatenate([load_pictures(model.preprocessing), noise])
    expected, features = (open_session(path).run([LAYER], {"pixel_values": pixels})[0] for path in (exported, made))
    difference = measure_difference(features, expected)
    if not difference <= kind.tolerance:
        raise BackboneError(
            f"the {kind.name} graph differs from the exported one by {difference:.1e} of the largest value, more than "
            f"{kind.tolerance:g}"
        )
