"""`changeling` and `changeling:FOLDER`: the bundled detector, or one that `train` wrote."""

from __future__ import annotations

from collections.abc import Sequence

from changeling.detect.detector import Detector
from changeling.detect.runtime_names import Runtime
from changeling.evaluation.base import DetectorSettings, EvaluatedImage, Score, ScoringDetector, hash_identity


class ChangelingDetector:
    """A detector of changeling, with its own labels: real, fake or unsure."""

    reads_files = True

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        model = detector.model
        self.identity = hash_identity("changeling", model.model_dump_json(exclude={"versions", "held_out"}))

    def score(self, images: Sequence[EvaluatedImage]) -> list[Score]:
        """Return the probability and the label of each image."""
        files = {image.file.path: image.file for image in images}
        verdicts = self._detector.detect(files, files.__getitem__)
        by_path = {verdict.path: verdict for verdict in verdicts}
        ordered = [by_path[image.file.path] for image in images]
        return [Score(verdict.probability, verdict.label, verdict.error, is_probability=True) for verdict in ordered]


def load_changeling(argument: str, settings: DetectorSettings) -> ScoringDetector:
    """Load the detector in a folder; the bundled one if `argument` is empty. Raises ModelError, WeightsError.

    It runs as the exported graph, so that an evaluation has the same bits before and after `changeling doctor`.
    """
    return ChangelingDetector(Detector.load(argument or None, settings.progress, runtime=Runtime.EXACT))
