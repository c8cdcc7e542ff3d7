"""Score the images of a dataset with a detector, part by part; parts that exist are not scored again."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.engine import count_decoding_threads
from changeling.errors import DetectorError, EvaluationError, ImageError
from changeling.evaluation.base import EvaluatedImage, Score, ScoringDetector
from changeling.evaluation.conditions import Condition, change_file
from changeling.evaluation.score_parts import PART_SIZE, SCORES_SCHEMA, ScoreHeader, ScorePartFormat, ScoreParts
from changeling.files import explain_full_disk
from changeling.images.decode import ImageFile, read_file
from changeling.parts import PartStore, unique_folder_name
from changeling.progress import Progress, silent

SCORES = "scores"  # the folder's name in the output folder


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of some images by one detector.

    Attributes:
        values: float64 (N,); NaN without a score.
        labels: object (N,): the detector's own labels, None where it gave none.
        errors: why images have no score.
        seconds: that scoring took, without reading and changing the images.
        are_probabilities: whether the values are probabilities; None if the detector does not say.
    """

    values: NDArray[np.float64]
    labels: NDArray[np.object_]
    errors: list[str]
    seconds: float
    are_probabilities: bool | None = None


@dataclass(frozen=True, slots=True)
class _UnscoredImage:
    """An image that no detector gets to see, and why; its file may be there again the next time."""

    error: str
    is_file_missing: bool = False  # or another one than when it was imported


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """The images that a detector scores, and where the scores are stored.

    Attributes:
        name: of the detector.
        rows: of the dataset, int64 (N,), in the order of the dataset.
        group: names the rows, such as a split: parts are stored under it.
        folder: the output folder of the evaluation.
    """

    name: str
    detector: ScoringDetector
    dataset: Dataset
    rows: NDArray[np.int64]
    group: str
    condition: Condition
    folder: Path
    part_size: int = PART_SIZE

    @property
    def parts(self) -> ScoreParts:
        """The parts of the scores, written or not."""
        detector_folder = f"{unique_folder_name(self.name)}-{self.detector.identity}"
        folder = self.folder / SCORES / detector_folder / f"{self.group}-{self.condition.name}"
        return PartStore(folder, ScorePartFormat(), len(self.rows), self.part_size)

    def part_rows(self, index: int) -> NDArray[np.int64]:
        """Return the rows of a part."""
        start, stop = self.parts.row_range(index)
        return self.rows[start:stop]

    def make_header(self, index: int) -> ScoreHeader:
        """Return the header of a part, without what is known when it is scored."""
        ids, hashes = self.dataset.column("image_id"), self.dataset.column("sha256")
        images = [(ids[row], hashes[row]) for row in self.part_rows(index)]
        return ScoreHeader(
            detector=self.detector.identity,
            condition=f"{self.condition.name}-{self.condition.version}",
            images=hashlib.sha256(json.dumps(images).encode()).hexdigest()[:16],
        )

    def has_part(self, index: int) -> bool:
        """Return whether a part is written, is of this detector, this condition and these images, and lacks no file.

        Parts of older versions, which do not say whether their scores are probabilities, do not count.
        """
        if not self.parts.exists(index):
            return False
        try:
            header = self.parts.read_header(index)
        except EvaluationError:  # not a part of scores
            return False
        expected = header.model_copy(update={"seconds": 0.0, "are_probabilities": None})
        return "are_probabilities" in header.model_fields_set and expected == self.make_header(index)

    def remove_parts(self) -> None:
        """Remove the parts, so that the images are scored again."""
        for index in self.parts.indices:
            self.parts.remove(index)


def score_images(job: ScoringJob, progress: Progress = silent) -> Scores:
    """Return the scores of all images of a job; score and store those that are not stored yet.

    Raises:
        DetectorError: the detector fails, and finished parts stay; or some parts are of probabilities and others are
            not, and all are removed.
        EvaluationError: the disk is full.
    """
    for index in job.parts.indices:
        if not job.has_part(index):
            _score_part(job, index)
        progress(f"{job.name}, {job.condition.name}", job.parts.row_range(index)[1], len(job.rows))
    try:
        return read_scores(job)
    except DetectorError:
        job.remove_parts()
        raise


def read_scores(job: ScoringJob) -> Scores:
    """Return the stored scores of a job.

    Raises:
        DetectorError: some are probabilities, and others are not.
        EvaluationError: a part cannot be read.
    """
    tables = [job.parts.read(index) for index in job.parts.indices]
    table = pa.concat_tables(tables) if tables else SCORES_SCHEMA.empty_table()
    headers = [job.parts.read_header(index) for index in job.parts.indices]
    return Scores(
        values=np.asarray(table["score"].to_numpy(zero_copy_only=False), np.float64),
        labels=np.array(table["label"].to_pylist(), dtype=object),
        errors=[error for error in table["error"].to_pylist() if error is not None],
        seconds=sum(header.seconds for header in headers),
        are_probabilities=_combine_declarations(header.are_probabilities for header in headers),
    )


def _score_part(job: ScoringJob, index: int) -> None:
    """Score the images of a part and write it. Raises DetectorError."""
    rows = job.part_rows(index)
    with tempfile.TemporaryDirectory(prefix="changeling-") as folder:
        images = _load_images(job, rows, Path(folder))
        readable = [image for image in images if isinstance(image, EvaluatedImage)]
        started = time.perf_counter()
        answers = _check_scores(job.detector.score(readable), readable) if readable else ()
        seconds = time.perf_counter() - started
    scores = _merge_scores(images, answers)
    columns = {
        "image_id": [job.dataset.column("image_id")[row] for row in rows],
        "score": [score.value for score in scores],
        "label": [score.label for score in scores],
        "error": [score.error for score in scores],
    }
    found = {
        "seconds": seconds,
        "missing_files": sum(isinstance(image, _UnscoredImage) and image.is_file_missing for image in images),
        "are_probabilities": _combine_declarations(score.is_probability for score in answers),
    }
    header = job.make_header(index).model_copy(update=found)
    with explain_full_disk(job.folder, EvaluationError):
        job.parts.write(index, header, pa.table(columns, schema=SCORES_SCHEMA))


def _merge_scores(images: Sequence[EvaluatedImage | _UnscoredImage], answers: Sequence[Score]) -> list[Score]:
    """Return a score for each image: the detector's answer, or why it was not asked."""
    remaining = iter(answers)
    return [
        Score(None, error=image.error) if isinstance(image, _UnscoredImage) else next(remaining) for image in images
    ]


def _combine_declarations(declarations: Iterable[bool | None]) -> bool | None:
    """Return whether scores are probabilities; None if no one says so. Raises DetectorError if only some are."""
    declared = set(declarations) - {None}
    if len(declared) > 1:
        raise DetectorError("it gave probabilities for some images and scores of another kind for others")
    return declared.pop() if declared else None


def _load_images(job: ScoringJob, rows: NDArray[np.int64], folder: Path) -> list[EvaluatedImage | _UnscoredImage]:
    """Return the images of some rows, changed as the condition says, or why they cannot be read."""

    def load(row: int) -> EvaluatedImage | _UnscoredImage:
        image_id, listed_path, sha256 = (job.dataset.column(name)[row] for name in ("image_id", "path", "sha256"))
        path = job.dataset.resolve_path(listed_path).absolute()
        if not job.detector.reads_files:
            return EvaluatedImage(image_id, listed_path, ImageFile(str(path), b""))
        try:
            original = read_file(path, sha256)
        except ImageError as error:
            return _UnscoredImage(str(error), is_file_missing=True)
        try:
            file = change_file(original, job.condition, image_id, str(folder / f"{row:08d}.png"))
        except ImageError as error:
            return _UnscoredImage(str(error))
        if job.condition.change is not None:
            Path(file.path).write_bytes(file.data)
        return EvaluatedImage(image_id, listed_path, file)

    with ThreadPoolExecutor(count_decoding_threads()) as pool:
        return list(pool.map(load, rows.tolist()))


def _check_scores(scores: Sequence[Score], images: Sequence[EvaluatedImage]) -> Sequence[Score]:
    """Return the scores. Raises DetectorError unless there is one for each image, finite or with an error."""
    if len(scores) != len(images):
        raise DetectorError(f"the detector gave {len(scores)} scores for {len(images)} images")
    for score, image in zip(scores, images, strict=True):
        if score.value is None and score.error is None:
            raise DetectorError(f"the detector gave no score for {image.file.path}")
        if score.value is not None and not math.isfinite(score.value):
            raise DetectorError(f"the score of {image.file.path} is {score.value}, not a finite number")
        if score.is_probability and score.value is not None and not 0 <= score.value <= 1:
            raise DetectorError(f"the probability of {image.file.path} is {score.value}, not between 0 and 1")
    return scores
