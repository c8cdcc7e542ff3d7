"""Which output of a classifier stands for fake."""

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


def find_fake_output(labels: Sequence[str], requested: str, spec: str) -> int:
    """Return the index of the output that stands for fake.

    Args:
        labels: the names of the outputs, in order.
        requested: a name or an index that the user gave; empty to find it by the names.
        spec: how the detector is named, for errors.

    Raises:
        DetectorError: no output, or more than one, can be it.
    """
    if requested:
        return _find_requested(labels, requested, spec)
    if len(labels) == 1:
        if _normalise(labels[0]) not in _REAL:
            return 0
    else:
        found = [index for index, label in enumerate(labels) if _normalise(label) in _FAKE]
        if len(found) == 1:
            return found[0]
    raise DetectorError(
        f"{spec}: it is not clear which of its outputs means fake: {', '.join(labels)}; name it or its index (from 0) "
        f"after a #, as in {spec}#{labels[-1]}"
    )


def _find_requested(labels: Sequence[str], requested: str, spec: str) -> int:
    names = [*labels, *map(str, range(len(labels)))]
    if requested not in names:
        raise DetectorError(f"{spec}#{requested}: there is no such output; it has {', '.join(labels)}")
    return names.index(requested) % len(labels)


def _normalise(label: str) -> str:
    """Return a label without case and separators: "AI-generated" -> "aigenerated"; endings like "images" are cut."""
    text = re.sub(r"[^a-z]", "", label.lower())
    return re.sub(r"(images?|pictures?)$", "", text) or text
