"""The interface of detectors that are evaluated: images in, scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from changeling.images.decode import ImageFile
from changeling.progress import Progress, silent

Label = Literal["real", "fake", "unsure"]


@dataclass(frozen=True, slots=True)
class EvaluatedImage:
    """An image to score.

    Attributes:
        image_id: in images.parquet.
        listed_path: in images.parquet; with `image_id`, it identifies the image in tables that others made.
        file: its path and bytes. Of a changed image that is a temporary file.
    """

    image_id: str
    listed_path: str
    file: ImageFile


@dataclass(frozen=True, slots=True)
class Score:
    """What a detector says of one image.

    Attributes:
        value: the higher, the more likely generated; None if the detector cannot score this image.
        label: the detector's own, if it gives one.
        error: why there is no value.
        is_probability: whether the value is a probability that the image is generated; None if that is not known.
    """

    value: float | None
    label: Label | None = None
    error: str | None = None
    is_probability: bool | None = None


class ScoringDetector(Protocol):
    """A detector that scores images."""

    @property
    def identity(self) -> str:
        """Hexadecimal hash of all that its scores depend on, except the images. Scores are stored under it."""

    @property
    def reads_files(self) -> bool:
        """Whether it looks at the image files; otherwise they need not exist, and it scores unchanged images only."""

    def score(self, images: Sequence[EvaluatedImage]) -> Sequence[Score]:
        """Return a score for each image, in order. Raises DetectorError."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What loading a detector may need besides its argument.

    Attributes:
        timeout: seconds that a function, a program or a service may take for one batch of images.
        progress: reports downloads.
    """

    timeout: float = 600.0
    progress: Progress = silent


Loader = Callable[[str, DetectorSettings], ScoringDetector]


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """A kind of detector.

    Attributes:
        usage: how it is named, for help and errors: "onnx:FILE".
        load: (argument after the colon, settings) -> detector. Raises ChangelingError.
    """

    usage: str
    load: Loader


def hash_identity(*parts: str | bytes) -> str:
    """Return sixteen hexadecimal digits that identify a detector by all that its scores depend on."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def hash_program_file(path: Path) -> str:
    """Return the hash of a file's content; "" if there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
