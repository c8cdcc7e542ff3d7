"""The names of the runtimes. They lie apart, so that the command line knows them without loading onnxruntime."""

from __future__ import annotations

from enum import StrEnum


class Runtime(StrEnum):
    """How a detector's backbone is run (see `runtimes`)."""

    AUTO = "auto"
    EXACT = "exact"
    COMPACT = "compact"
    QUANTIZED = "quantized"
