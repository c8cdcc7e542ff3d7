"""Evaluate detectors on a dataset: what is evaluated, and how its images are scored with each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import ChangelingError, DetectorError, EvaluationError, one_line
from changeling.evaluation.base import DetectorSettings, ScoringDetector
from changeling.evaluation.conditions import CONDITIONS, Condition, build_conditions
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.file_null import score_file_properties
from changeling.evaluation.measures import METRICS, Metric
from changeling.evaluation.predictions import ValidationThreshold, is_threshold_of
from changeling.evaluation.protocols.protocol import Protocol
from changeling.evaluation.registry import DetectorSpec, parse_specs
from changeling.evaluation.scoring import Scores, ScoringJob, score_images
from changeling.experiments.selection import has_both_classes
from changeling.files import check_output_folder
from changeling.progress import Progress, silent
from changeling.stats.metrics import Ints

EvaluatedSplit = Split | Literal["all"]
EVALUATED_SPLITS: tuple[EvaluatedSplit, ...] = (*SPLITS, "all")


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is evaluated.

    Attributes:
        split: of the dataset, or "all".
        conditions: in which the images are scored.
        threshold: a score above it means fake; by default each detector's own labels, or 0.5 for probabilities.
        timeout: seconds that a function, a program or a service may take for one batch of images.
        seed: of the folds of the file classifier.
        validation_threshold: how each detector's threshold is chosen on another split, in place of `threshold`.
        metrics: of the table of all metrics.
    """

    split: EvaluatedSplit = "test"
    conditions: Sequence[Condition] = tuple(CONDITIONS.values())
    threshold: float | None = None
    timeout: float = 600.0
    seed: int = 0
    validation_threshold: ValidationThreshold | None = None
    metrics: Sequence[Metric] = METRICS


def build_settings(protocol: Protocol, timeout: float = 600.0) -> EvaluationSettings:
    """Return what a protocol evaluates; a batch of images may take a program or service `timeout` seconds."""
    threshold = protocol.threshold
    rate = threshold.false_positive_rate
    return EvaluationSettings(
        split=protocol.split,
        conditions=build_conditions(protocol.conditions, protocol.preprocessing, protocol.transformations),
        threshold=threshold.value,
        timeout=timeout,
        seed=protocol.seed,
        metrics=[metric for metric in METRICS if metric.key in protocol.metrics],
        validation_threshold=None if rate is None else ValidationThreshold(rate, threshold.split),
    )


@dataclass(frozen=True)
class EvaluationJob:
    """An evaluation: what is evaluated, and where scores are stored.

    Attributes:
        output: the folder of the evaluation. Scores that are stored in it are used.
    """

    dataset: Dataset
    settings: EvaluationSettings
    output: Path
    progress: Progress = silent

    @cached_property
    def rows(self) -> Ints:
        """The rows that are evaluated. Raises EvaluationError unless real and fake images are among them."""
        return select_rows(self.dataset, self.settings.split)

    def run(self, names: Sequence[str], report_failure: Callable[[str], object]) -> Evaluation:
        """Score the images with each detector, in alphabetical order, and with the file classifier.

        A detector that fails is reported in one line, and the others go on.

        Args:
            names: of the detectors, as `parse_specs` takes them.
            report_failure: is called with the line.

        Raises:
            EvaluationError: a kind of detector is unknown, two have one name, the split lacks real or fake images, or
                the disk is full.
        """
        detectors = []
        specs = sorted(parse_specs(names), key=attrgetter("name"))  # so that tables do not depend on their order
        check_output_folder(self.output)
        rows = self.rows  # checked before anything is loaded
        for spec in specs:
            detectors.append(self._run_detector(spec))
            if detectors[-1].failure is not None:
                report_failure(f"{spec.name} failed: {detectors[-1].failure}")
        if any(condition.change is None for condition in self.settings.conditions):
            detectors.append(self._score_file_properties())
        return Evaluation(self.dataset, rows, self.settings.conditions, detectors)

    def _score_file_properties(self) -> DetectorScores:
        """Return the scores of the file classifier; no predictions if the threshold is not one of its probabilities."""
        null = score_file_properties(self.dataset, self.rows, self.settings.seed, self.progress)
        threshold = self.settings.threshold
        is_comparable = self.settings.validation_threshold is None and (threshold is None or 0 < threshold < 1)
        return replace(null, threshold=threshold, has_predictions=is_comparable)

    def _run_detector(self, spec: DetectorSpec) -> DetectorScores:
        identity = ""
        try:
            detector = spec.load(DetectorSettings(self.settings.timeout, self.progress))
            identity = detector.identity
            scores = self._score(spec.name, detector)
            threshold = self._choose_threshold(spec.name, detector)
            has_predictions = is_threshold_of(self.settings.threshold, scores)
        except EvaluationError:
            raise
        except Exception as error:  # whatever a model or a library raises
            return DetectorScores(spec.name, failure=_describe_failure(error), identity=identity)
        return DetectorScores(
            spec.name, scores, threshold=threshold, has_predictions=has_predictions, identity=identity
        )

    def _score(self, name: str, detector: ScoringDetector) -> dict[str, Scores]:
        """Return the scores in each condition that a detector can score.

        Raises DetectorError if it has scored no image in any of them; nothing is stored then.
        """
        jobs = [
            ScoringJob(name, detector, self.dataset, self.rows, self.settings.split, condition, self.output)
            for condition in self.settings.conditions
            if detector.reads_files or condition.change is None
        ]
        scores = {job.condition.name: score_images(job, self.progress) for job in jobs}
        if scores and all(np.isnan(each.values).all() for each in scores.values()):
            for job in jobs:
                job.remove_parts()
            errors = [error for each in scores.values() for error in each.errors]
            raise DetectorError("it has no score for any image" + (f"; the first: {errors[0]}" if errors else ""))
        return scores

    def _choose_threshold(self, name: str, detector: ScoringDetector) -> float | None:
        """Return the threshold of the settings, or the one that follows from the scores of another split."""
        rule, condition = self.settings.validation_threshold, self.settings.conditions[0]
        if rule is None or not (detector.reads_files or condition.change is None):
            return self.settings.threshold
        rows = rule.select_rows(self.dataset)
        job = ScoringJob(name, detector, self.dataset, rows, f"{rule.split}-real", condition, self.output)
        scores = score_images(job, self.progress).values
        if np.isnan(scores).all():
            raise DetectorError(f"it has no score for any real image of {rule.split}, so it has no threshold")
        return rule.choose(scores)


def select_rows(dataset: Dataset, split: EvaluatedSplit) -> Ints:
    """Return the readable rows of a split, or of all. Raises EvaluationError unless both classes are among them."""
    in_split = np.isin(dataset.column("split"), SPLITS if split == "all" else [split])
    rows = np.flatnonzero(in_split & (dataset.column("status") == "ok"))
    labels = dataset.labels[rows]
    if not has_both_classes(labels):
        raise EvaluationError(
            f"{dataset.path}: the split {split!r} has {(labels == 0).sum()} real and {(labels == 1).sum()} fake "
            "images, but both are needed; choose another split"
        )
    return rows


def _describe_failure(error: Exception) -> str:
    message = one_line(error, 300)
    return message if isinstance(error, ChangelingError) else f"{type(error).__name__}: {message}"
