"""`scores:FILE.csv`: scores that another program computed.

The column `probability` has probabilities, and `score` scores of any kind; of a file with both, `probability` is taken.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, EvaluatedImage, Score, ScoringDetector, hash_identity
from changeling.evaluation.detectors.answers import PROBABILITY, SCORE_NAMES

_KEYS = ("image_id", "path")


class ScoreTable:
    """Scores of images by their image_id or path."""

    reads_files = False

    def __init__(self, path: Path, column: str, scores: Mapping[str, float], identity: str) -> None:
        self._path, self._column, self._scores = path, column, scores
        self.identity = identity

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image. Raises DetectorError if an image has none."""
        is_probability = self._column == PROBABILITY
        return [Score(self._find_score(image), is_probability=is_probability) for image in images]

    def _find_score(self, image: EvaluatedImage) -> float:
        for key in (image.image_id, image.listed_path, image.file.path):
            if key in self._scores:
                return self._scores[key]
        raise DetectorError(
            f"{self._path}: no score for image {image.image_id} ({image.listed_path}); "
            "its rows have the image_id or the path of images.parquet"
        )


def load_score_table(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Read a CSV file with the columns image_id or path, and probability or score. Raises DetectorError."""
    path = Path(argument)
    try:
        data = path.read_bytes()
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        keys, column = _find_columns(path, rows.fieldnames or ())
        scores = dict(_read_scores(path, rows, keys, column))
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DetectorError(f"{path} is not a CSV file: {error}") from None
    return ScoreTable(path, column, scores, hash_identity("scores", column, data))


def _find_columns(path: Path, names: Sequence[str]) -> tuple[list[str], str]:
    """Return the columns that name images, and the one with scores. Raises DetectorError if one is missing."""
    keys = [name for name in _KEYS if name in names]
    columns = [name for name in SCORE_NAMES if name in names]
    if not keys or not columns:
        raise DetectorError(
            f"{path}: it needs the columns image_id or path, and probability or score; it has {', '.join(names)}"
        )
    return keys, columns[0]


def _read_scores(
    path: Path, rows: csv.DictReader[str], keys: Sequence[str], column: str
) -> Iterator[tuple[str, float]]:
    """Yield the names of each image with its score. Raises DetectorError."""
    seen: set[str] = set()
    for row in rows:
        score = _parse_score(path, rows.line_num, row[column])
        for key in {row[name] for name in keys} - {"", None}:
            if key in seen:
                raise DetectorError(f"{path}: line {rows.line_num}: {key} has a score already")
            seen.add(key)
            yield key, score


def _parse_score(path: Path, line: int, text: str | None) -> float:
    try:
        score = float(text or "")
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DetectorError(f"{path}: line {line}: {text!r} is not a finite score")
    return score
