"""`scores:FILE.csv`: scores that another program computed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from changeling.errors import DetectorError
from changeling.evaluation.base import DetectorSettings, EvaluatedImage, Score, ScoringDetector, hash_identity

_KEYS = ("image_id", "path")
_SCORES = ("score", "probability")


class ScoreTable:
    """Scores of images by their image_id or path."""

    reads_files = False

    def __init__(self, path: Path, scores: Mapping[str, float], identity: str) -> None:
        self._path, self._scores = path, scores
        self.identity = identity

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the score of each image. Raises DetectorError if an image has none."""
        return [Score(self._find_score(image)) for image in images]

    def _find_score(self, image: EvaluatedImage) -> float:
        for key in (image.image_id, image.listed_path, image.file.path):
            if key in self._scores:
                return self._scores[key]
        raise DetectorError(
            f"{self._path}: no score for image {image.image_id} ({image.listed_path}); "
            "its rows have the image_id or the path of images.parquet"
        )


def load_score_table(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Read a CSV file with the columns image_id or path, and score. Raises DetectorError."""
    path = Path(argument)
    try:
        data = path.read_bytes()
        scores = dict(_read_scores(path, data.decode("utf-8-sig")))
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DetectorError(f"{path} is not a CSV file: {error}") from None
    return ScoreTable(path, scores, hash_identity("scores", data))


def _read_scores(path: Path, text: str) -> Iterator[tuple[str, float]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    names = rows.fieldnames or ()
    keys = [name for name in _KEYS if name in names]
    score_names = [name for name in _SCORES if name in names]
    if not keys or not score_names:
        raise DetectorError(f"{path}: it needs the columns image_id or path, and score; it has {', '.join(names)}")
    seen: set[str] = set()
    for row in rows:
        score = _parse_score(path, rows.line_num, row[score_names[0]])
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
