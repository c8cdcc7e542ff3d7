"""What a file beside an ONNX file says of it, `FILE.onnx.json`: its preprocessing and its text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from changeling.backbones.onnx import OnnxBackbone, find_default_layer, hash_file, open_session
from changeling.backbones.text_encoder import check_tokenizers
from changeling.errors import BackboneError, one_line
from changeling.images.transforms import Preprocessing

_BATCH = 32  # captions encoded at once


class TextTower(BaseModel):
    """A text tower: an ONNX file and a `tokenizer.json`, with paths relative to the description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    tokenizer: str
    max_tokens: PositiveInt = 77  # longer captions are cut


class Description(BaseModel):
    """The content of `FILE.onnx.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preprocessing: Preprocessing | None = None
    outputs: Literal["logits", "probabilities"] | None = None  # of a detector with several outputs
    text: TextTower | None = None


def read_description(path: Path) -> Description:
    """Return the description beside an ONNX file, or an empty one. Raises BackboneError if it is invalid."""
    description_path = path.with_name(f"{path.name}.json")
    try:
        return Description.model_validate_json(description_path.read_bytes())
    except FileNotFoundError:
        return Description()
    except (ValidationError, OSError) as error:
        raise BackboneError(f"{description_path} is not a description of {path.name}: {one_line(error)}") from None


class OnnxTextBackbone(OnnxBackbone):
    """An ONNX backbone with a text tower of its own."""

    def __init__(self, path: Path, name: str, preprocessing: Preprocessing | None, text: TextTower) -> None:
        """Open both graphs. Raises BackboneError if a file is missing or invalid, or `tokenizers` is not installed."""
        super().__init__(path, name, preprocessing=preprocessing)
        model, tokenizer = path.parent / text.model, path.parent / text.tokenizer
        for file in (model, tokenizer):
            if not file.is_file():
                raise BackboneError(f"{file}, a file of the text tower of {name}, does not exist")
        self._text = open_session(model)
        self._tokenizer = _load_tokenizer(tokenizer, name)
        self._inputs = {node.name: node for node in self._text.get_inputs()}
        self._output = find_default_layer([node.name for node in self._text.get_outputs()])
        self._configure_tokenizer(text.max_tokens)
        parts = (self.weights, hash_file(model), hash_file(tokenizer), str(text.max_tokens))
        self.weights = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
        dim = self.encode_text(["a"]).shape[1]
        if dim != self.dim:
            raise BackboneError(f"{name} has features of {self.dim} numbers for images, but {dim} for captions")

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Captions, without a prompt template -> features (N, D)."""
        batches = [captions[start : start + _BATCH] for start in range(0, len(captions), _BATCH)]
        return np.concatenate([self._encode_batch(batch) for batch in batches])

    def _configure_tokenizer(self, max_tokens: int) -> None:
        """Cut long captions; pad the others to the length that the graph takes, or else to the longest of a batch."""
        length = next(iter(self._inputs.values())).shape[-1]
        fixed = length if isinstance(length, int) else None
        padding = self._tokenizer.padding or {}
        self._tokenizer.enable_truncation(min(max_tokens, fixed or max_tokens))
        self._tokenizer.enable_padding(
            pad_id=padding.get("pad_id", 0), pad_token=padding.get("pad_token", "[PAD]"), length=fixed
        )

    def _encode_batch(self, captions: Sequence[str]) -> NDArray[np.float32]:
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        encodings = self._tokenizer.encode_batch(list(captions))
        ids, *others = (
            self._inputs
        )  # the first input takes the tokens, and another one called "attention_mask" the mask
        arrays = {ids: [encoding.ids for encoding in encodings]}
        if "attention_mask" in others:
            arrays["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        inputs = {name: np.array(rows, _integer_type(self._inputs[name])) for name, rows in arrays.items()}
        try:
            (features,) = self._text.run([self._output], inputs)
        except (Fail, InvalidArgument, RuntimeException, ValueError) as error:
            raise BackboneError(f"the text tower of {self.name} does not take tokens: {one_line(error)}") from None
        if features.ndim != 2:
            raise BackboneError(f"the text tower of {self.name} returns {features.shape}, not one vector each")
        return np.asarray(features, np.float32)


def _integer_type(node: Any) -> type[np.integer[Any]]:
    return np.int32 if node.type == "tensor(int32)" else np.int64


def _load_tokenizer(path: Path, name: str) -> Any:
    check_tokenizers(name)
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise BackboneError(f"{path} is not a tokenizer.json: {one_line(error)}") from None
