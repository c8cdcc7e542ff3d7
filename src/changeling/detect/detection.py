"""How images are detected: by which detector, as they are or in all deliveries, with or without evidence."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from changeling import __version__
from changeling.detect.detector import Detector, Verdict
from changeling.detect.evidence.inspect import EvidenceReader, Paths
from changeling.detect.runtime_names import Runtime
from changeling.detect.runtimes import list_runtimes
from changeling.detect.verdict_parts import PART_SIZE, VerdictHeader, VerdictParts
from changeling.errors import ChangelingError
from changeling.files import explain_full_disk
from changeling.progress import Progress, silent

DESCRIPTION = "detecting"  # of its progress


@dataclass(frozen=True)
class Detection:
    """A detector and what it does with each image. It can be pickled; weights are then loaded again by name.

    Attributes:
        is_stable: whether each image is also detected after each delivery (see `Detector.detect_stable`).
        evidence_reader: reads the evidence in each file; None if it is not wanted.
    """

    detector: Detector
    is_stable: bool = False
    evidence_reader: EvidenceReader | None = None

    def detect(self, paths: Iterable[str]) -> Iterator[Verdict]:
        """Yield a verdict for each path, in order, with the same bits as if each part were detected by itself."""
        detect: Callable[[Paths], Iterator[Verdict]]
        detect = self.detector.detect_stable if self.is_stable else self.detector.detect
        if self.evidence_reader is not None:
            detect = partial(self.evidence_reader.detect, detect)
        paths = iter(paths)
        while part := list(itertools.islice(paths, PART_SIZE)):  # no batch has images of two parts
            yield from detect(part)

    def write_part(self, parts: VerdictParts, index: int, paths: Sequence[str], progress: Progress = silent) -> None:
        """Detect the images of a part, which have these paths, and write it.

        Raises:
            ChangelingError: the disk is full.
        """
        header = self.make_header(paths)  # first: a file that changes from now on makes the part outdated
        start, _ = parts.row_range(index)
        verdicts = []
        for done, verdict in enumerate(self.detect(paths), start=start + 1):
            verdicts.append(verdict)
            progress(DESCRIPTION, done, parts.row_count)
        with explain_full_disk(parts.folder, ChangelingError):
            parts.write(index, header, verdicts)

    def make_header(self, paths: Sequence[str]) -> VerdictHeader:
        """The header of a part of these images, as their files are now."""
        files = [(os.fsencode(path), _read_file_state(path)) for path in paths]
        return VerdictHeader(made_of=_hash_objects(self._hash, files), runtime=self.detector.runtime)

    @cached_property
    def _hash(self) -> str:
        """A hash of everything that verdicts depend on, but the files."""
        weights = self.detector.backbone.weights  # differ between runtimes, which agree up to rounding only
        trust_list = self.evidence_reader.trust_list_hash if self.evidence_reader else None
        return _hash_objects(__version__, self.detector.model.model_dump_json(), weights, self.is_stable, trust_list)


def detect_missing_parts(
    detection: Detection, paths: Sequence[str], parts: VerdictParts, progress: Progress = silent
) -> None:
    """Detect the images of the parts that are not written yet, and write these parts.

    Raises:
        ChangelingError: the disk is full. Finished parts are kept.
    """
    for index in parts.missing:
        detection.write_part(parts, index, paths[slice(*parts.row_range(index))], progress)


def remove_outdated_parts(detection: Detection, paths: Sequence[str], parts: VerdictParts) -> None:
    """Remove the parts whose images, files or settings have changed since they were written.

    Raises:
        ChangelingError: a file is not a part.
    """
    for index in parts.indices:
        if parts.exists(index) and parts.read_header(index) != detection.make_header(
            paths[slice(*parts.row_range(index))]
        ):
            parts.remove(index)


def has_current_part(detection: Detection, paths: Sequence[str], parts: VerdictParts) -> bool:
    """Return whether a written part is one that a run with this detection would write.

    Raises:
        ChangelingError: a file is not a part.
    """
    return any(
        parts.exists(index) and parts.read_header(index) == detection.make_header(paths[slice(*parts.row_range(index))])
        for index in parts.indices
    )


def find_runtime_to_resume(parts: VerdictParts, backbone: str) -> Runtime:
    """Return the runtime of the first written part, so that all get the same; `auto` if there is none.

    A runtime that the backbone does not have belongs to parts of another detector, and does not count.

    Raises:
        ChangelingError: a file is not a part.
    """
    written = next((index for index in parts.indices if parts.exists(index)), None)
    runtime = Runtime.AUTO if written is None else parts.read_header(written).runtime
    return runtime if runtime in list_runtimes(backbone) else Runtime.AUTO


def _read_file_state(path: str) -> tuple[int, int] | None:
    """The size and the time of the last change of a file; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a path may contain a NUL byte, which pathlib refuses)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _hash_objects(*objects: object) -> str:
    return hashlib.sha256(repr(objects).encode()).hexdigest()
