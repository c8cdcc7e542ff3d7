"""Read all evidence in image files, with or without the verdicts of a detector."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from changeling.detect.detector import ReadFile, Verdict
from changeling.detect.evidence.camera import read_camera_data
from changeling.detect.evidence.content_credentials import CredentialsReader
from changeling.detect.evidence.evidence import Evidence, Kind
from changeling.detect.evidence.exif import load_late_chunks
from changeling.detect.evidence.generator_parameters import read_generator_parameters
from changeling.detect.evidence.xmp import read_source_type
from changeling.errors import ImageError, Status, one_line
from changeling.files import StrPath
from changeling.images.decode import ImageFile, open_image, read_file

Paths = Iterable[StrPath]

_IMAGE_READERS: dict[Kind, Callable[[Image.Image], Evidence]] = {
    "digital source type": read_source_type,
    "camera data": read_camera_data,
    "generator parameters": read_generator_parameters,
}


@dataclass(frozen=True, slots=True)
class FileEvidence:
    """The evidence in one image file, without a verdict.

    Attributes:
        path: as it was given.
        status: "ok", or why the file cannot be read, in one word.
        error: the same as a sentence; None if the file was read.
        evidence: one item of each kind; none if the file cannot be read.
    """

    path: str
    status: Status = "ok"
    error: str | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class VerdictWithEvidence(Verdict):
    """A verdict, and the evidence in the same bytes, which has no part in the verdict."""

    evidence: tuple[Evidence, ...] = ()


class EvidenceReader:
    """Reads the evidence in image files, which are untrusted. It can be used by several threads at once."""

    def __init__(self, trust_list: StrPath | None = None) -> None:
        """Trust the signers that a PEM file of certificates names; by default none. Raises ChangelingError."""
        self._trust_list = None if trust_list is None else Path(trust_list)
        self._credentials = CredentialsReader(self._trust_list)

    def __reduce__(self) -> tuple[type[EvidenceReader], tuple[Path | None]]:
        """Pickle the path of the trust list, which is read again."""
        return type(self), (self._trust_list,)

    @property
    def trust_list_hash(self) -> str:
        """Hash of the file of the trust list; "" if there is none."""
        return hashlib.sha256(self._trust_list.read_bytes()).hexdigest() if self._trust_list else ""

    def read(self, file: ImageFile) -> tuple[Evidence, ...]:
        """Return one item for each kind of evidence, also for what is absent or cannot be read.

        Raises:
            ImageError: the file is not an image of a supported format.
        """
        with open_image(file) as image:
            image_format = image.format or ""
            with suppress(Exception):  # the pixels are broken: what stands before them is still read
                load_late_chunks(image, file.data)
            items = [_read_safely(kind, read, image) for kind, read in _IMAGE_READERS.items()]
        return (_read_safely("content credentials", self._credentials.read, file.data, image_format), *items)

    def inspect(self, paths: Paths) -> Iterator[FileEvidence]:
        """Yield the evidence in each file, in order; a file that cannot be read gets an error."""
        for path in map(os.fsdecode, paths):
            try:
                yield FileEvidence(path, evidence=self.read(read_file(path)))
            except ImageError as error:
                yield FileEvidence(path, error.status, str(error))

    def detect(
        self, detect: Callable[[Paths, ReadFile], Iterable[Verdict]], paths: Paths
    ) -> Iterator[VerdictWithEvidence]:
        """Yield the verdict of a method of Detector on each path, and the evidence in the same bytes."""
        found: dict[str, deque[tuple[Evidence, ...]]] = {}  # by path, which may be given twice

        def read_with_evidence(path: str) -> ImageFile:
            file = read_file(path)
            found.setdefault(path, deque()).append(self.read(file))
            return file

        for verdict in detect(paths, read_with_evidence):
            queue = found.get(verdict.path, deque())
            evidence = queue.popleft() if queue else ()
            if not queue:
                found.pop(verdict.path, None)
            yield VerdictWithEvidence(**_get_fields(verdict), evidence=evidence)


def _get_fields(verdict: Verdict) -> dict[str, Any]:
    return {field.name: getattr(verdict, field.name) for field in fields(verdict)}


def _read_safely(kind: Kind, read: Callable[..., Evidence], *arguments: object) -> Evidence:
    """Read one kind of evidence; whatever a reader raises on broken data becomes evidence that is unreadable."""
    try:
        return read(*arguments)
    except Exception as error:
        return Evidence(kind, "unreadable", f"Cannot be read: {one_line(error) or type(error).__name__}.")
