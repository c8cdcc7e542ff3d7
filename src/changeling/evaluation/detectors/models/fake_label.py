"""Which outputs of a classifier stand for fake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from changeling.errors import DetectorError

_FAKE = {"fake", "ai", "generated", "aigenerated", "artificial", "synthetic", "deepfake", "machine", "diffusion"}
_REAL = {"real", "human", "natural", "nature", "photo", "photograph", "authentic", "realism"}


def split_label(argument: str) -> tuple[str, str]:
    """Split `MODEL#LABEL` into the model and the label; the label is empty if there is none."""
    model, separator, label = argument.rpartition("#")
    return (model, label) if separator and not Path(argument).exists() else (argument, "")


def find_fake_outputs(labels: Sequence[str], requested: str, spec: str) -> tuple[int, ...]:
    """Return the indices of the outputs that stand for fake: their probabilities are added.

    Args:
        labels: the names of the outputs, in order.
        requested: a name or an index that the user gave, or several with commas; empty to find them by the names.
        spec: how the detector is named, for errors.

    Raises:
        DetectorError: it is not clear which outputs these are.
    """
    if requested:
        return tuple(_find_requested(labels, name, spec) for name in requested.split(","))
    fakes = _guess_fake_outputs([_normalise(label) for label in labels])
    if not fakes:
        raise DetectorError(
            f"{spec}: it is not clear which of its outputs means fake: {', '.join(labels)}; name it or its index "
            f"(from 0) after a #, as in {spec}#{labels[-1]}"
        )
    return fakes


def _guess_fake_outputs(names: Sequence[str]) -> tuple[int, ...]:
    """Return all outputs but the real ones, or else but the only one that is not fake; empty if that is not clear."""
    if len(names) == 1 or set(names) & _REAL:
        return tuple(index for index, name in enumerate(names) if name not in _REAL)
    fakes = tuple(index for index, name in enumerate(names) if name in _FAKE)
    return fakes if len(fakes) == len(names) - 1 else ()


def _find_requested(labels: Sequence[str], requested: str, spec: str) -> int:
    names = [*labels, *map(str, range(len(labels)))]
    if requested not in names:
        raise DetectorError(f"{spec}#{requested}: there is no such output; it has {', '.join(labels)}")
    return names.index(requested) % len(labels)


def _normalise(label: str) -> str:
    """Return a label without case and separators: "AI-generated" -> "aigenerated"; endings like "images" are cut."""
    text = re.sub(r"[^a-z]", "", label.lower())
    return re.sub(r"(images?|pictures?)$", "", text) or text
