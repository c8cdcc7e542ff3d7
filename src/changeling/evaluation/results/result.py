"""An evaluation as a Result, and how fast each detector was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from changeling.evaluation.evaluate import EvaluationSettings, build_settings
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.file_null import NULL_NAME
from changeling.evaluation.predictions import are_in_unit_interval, has_own_labels
from changeling.evaluation.protocols.expected_dataset import list_differences
from changeling.evaluation.protocols.protocol import Protocol, ThresholdSettings
from changeling.evaluation.results.subsets import SubsetSettings, build_subset_table
from changeling.evaluation.results.tables import build_tables
from changeling.evaluation.results.windows import build_window_table
from changeling.experiments.reporting import describe_dataset, list_versions, note_leakage
from changeling.files import atomic_write
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Result, Table

EXPERIMENT_NAME = "evaluation"
SPEED_FILE = "speed.json"


def describe_evaluation(evaluation: Evaluation, settings: EvaluationSettings) -> Result:
    """Return the Result: the same bytes for the same scores, whatever the machine and the order of work."""
    tables = build_tables(evaluation, settings.metrics)
    identities = {f"detector {each.name}": each.identity or "not loaded" for each in evaluation.detectors}
    return Result(
        experiment=EXPERIMENT_NAME,
        title="How well do these detectors do on the same images?",
        summary=_summarise(tables[0]),
        settings={
            "split": settings.split,
            "images evaluated": len(evaluation.rows),
            "conditions": ", ".join(condition.name for condition in settings.conditions),
            "threshold": "the detector's own, or 0.5" if settings.threshold is None else settings.threshold,
            "seed": settings.seed,
            **{name: identity for name, identity in identities.items() if name != f"detector {NULL_NAME}"},
        },
        tables=tables,
        dataset=describe_dataset(evaluation.dataset),
        versions=list_versions(),
        notes=(*note_leakage(evaluation.dataset), *_list_notes(evaluation)),
    )


def describe_protocol_evaluation(evaluation: Evaluation, protocol: Protocol) -> Result:
    """Return the Result. Its numbers are the same for the same protocol, images and scores, on every machine."""
    result = describe_evaluation(evaluation, build_settings(protocol))
    subsets = SubsetSettings(protocol.subset_metrics, protocol.generators, protocol.real_sources, protocol.window_size)
    tables = [*result.tables]
    if protocol.subset_metrics and evaluation.finished:
        tables.append(build_subset_table(evaluation, subsets))
    if protocol.window_size and evaluation.finished:
        tables.append(build_window_table(evaluation, subsets))
    differences = list_differences(protocol, evaluation)
    about: dict[str, str | float] = {"protocol": protocol.name, "protocol, hash": protocol.hash}
    about |= {"protocol, source": protocol.source} if protocol.source else {}
    about |= {"detectors are trained on": protocol.training} if protocol.training else {}
    about |= {"preprocessing": protocol.preprocessing, "threshold": _describe_threshold(protocol.threshold)}
    return result.model_copy(
        update={
            "tables": tuple(tables),
            "settings": result.settings | about,
            "notes": (*(f"Differs from the protocol: {text}" for text in differences), *result.notes),
        }
    )


def measure_speed(evaluation: Evaluation) -> dict[str, dict[str, float | None]]:
    """Return the seconds an image that each detector took, in each condition; None where it scored none."""
    count = len(evaluation.rows)
    return {
        detector.name: {
            condition: scores.seconds / count if scores.seconds else None
            for condition, scores in detector.scores.items()
        }
        for detector in evaluation.finished
        if detector.name != NULL_NAME
    }


def write_speed(evaluation: Evaluation, folder: Path) -> Path:
    """Write the seconds an image to a file of their own, which differs from run to run; return its path."""
    path = folder / SPEED_FILE
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(measure_speed(evaluation), indent=1) + "\n", encoding="utf-8")
    return path


def _summarise(leaderboard: Table) -> str:
    """Summarise the column of unchanged images, or else the first one."""
    column = leaderboard.columns[0]
    scored = [row for row in leaderboard.rows if column.key in row.cells]
    detectors = [row for row in scored if row.labels["Detector"] != NULL_NAME]
    if not detectors:
        return "No detector finished."
    best = max(detectors, key=lambda row: row.cells[column.key].value)
    estimate = best.cells[column.key]
    summary = (
        f"Of {format_count(len(detectors), 'detector', 'detectors')} that finished, {best.labels['Detector']} has the "
        f"highest AUROC ({column.label.lower()}): {format_percent(estimate.value)} ({format_interval(estimate)}) on "
        f"{format_count(estimate.images, 'image', 'images')}."
    )
    for row in scored:
        if row.labels["Detector"] == NULL_NAME:
            null = row.cells[column.key]
            summary += (
                f" A classifier that sees only the properties of the files has {format_percent(null.value)} "
                f"({format_interval(null)})."
            )
    return summary


def _list_notes(evaluation: Evaluation) -> Iterator[str]:
    for detector in evaluation.detectors:
        if detector.failure is not None:
            yield f"{detector.name} failed and has no results: {detector.failure.rstrip('.')}."
    for detector in evaluation.finished:
        if detector.name != NULL_NAME:
            yield f"{detector.name}: {_describe_scores(detector)}."
        for condition, scores in detector.scores.items():
            missing = int(np.isnan(scores.values).sum())
            if missing:
                reason = scores.errors[0] if scores.errors else "the file cannot be read"
                yield (
                    f"{detector.name} has no score for {format_count(missing, 'image', 'images')} ({condition}), which "
                    f"{'is' if missing == 1 else 'are'} left out; the first: {reason.rstrip('.')}."
                )


def _describe_scores(detector: DetectorScores) -> str:
    if not detector.scores:
        return "it has scores of unchanged files only, which are not evaluated"
    kind = _describe_kind(detector)
    if not detector.has_predictions:
        return f"{kind} and do not all lie in [0, 1], so it has no accuracy at the threshold {detector.threshold:g}"
    if detector.threshold is not None:
        return f"{kind}; fake above {detector.threshold:g}"
    if all(has_own_labels(scores) for scores in detector.scores.values()):
        return f"{kind}; its own labels are used"
    return (
        f"{kind}; fake above 0.5"
        if detector.are_probabilities
        else f"{kind}, so it has no accuracy without a threshold"
    )


def _describe_kind(detector: DetectorScores) -> str:
    """Return whether the scores are probabilities, and who says so."""
    is_declared = any(scores.are_probabilities is not None for scores in detector.scores.values())
    if detector.are_probabilities:
        if is_declared:
            return "its scores are probabilities"
        return "its scores lie in [0, 1] and are taken for probabilities"
    if is_declared and are_in_unit_interval(detector.scores.values()):
        return "its scores are not called probabilities, although they lie in [0, 1]"
    return "its scores are not probabilities"


def _describe_threshold(threshold: ThresholdSettings) -> str | float:
    if threshold.false_positive_rate is not None:
        share = format_percent(threshold.false_positive_rate)
        return f"what {share} of the real images of {threshold.split} exceed"
    return "the detector's own, or 0.5" if threshold.value is None else threshold.value
