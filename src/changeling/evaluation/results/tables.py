"""The tables of an evaluation, as they stand in its Result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from changeling.evaluation.evaluation import DetectorScores, Evaluation, Mask
from changeling.evaluation.measures import (
    METRICS,
    Metric,
    ScoredImages,
    compare_aurocs,
    compare_balanced_accuracies,
    compute_robust_auroc,
    measure_auroc,
    measure_balanced_accuracy,
    measure_recall,
)
from changeling.experiments.reporting import make_estimate
from changeling.results.result import Column, Estimate, Row, Table
from changeling.stats.intervals import Interval, statistic_interval

MIN_IMAGES = 10  # that a generator or a source needs for a row of its own
_ROBUST = "robust"
Cells = dict[str, Estimate]


def build_tables(evaluation: Evaluation, metrics: Sequence[Metric] = METRICS) -> tuple[Table, ...]:
    """Return the tables that have rows: leaderboard, all metrics, by generator, by source, differences."""
    tables = (
        build_leaderboard(evaluation),
        build_metrics_table(evaluation, metrics),
        build_generator_table(evaluation),
        build_source_table(evaluation),
        build_difference_table(evaluation),
    )
    return tuple(table for table in tables if table.rows)


def build_leaderboard(evaluation: Evaluation) -> Table:
    """Return the main table: AUROC and balanced accuracy in each condition, and the AUROC of all together."""
    auroc = [
        Column(key=f"auroc_{condition.name}", label=condition.title, group="AUROC", chance=0.5)
        for condition in evaluation.conditions
    ]
    if len(auroc) > 1:
        auroc.append(Column(key=f"auroc_{_ROBUST}", label="All together", group="AUROC", chance=0.5))
    accuracy = [
        Column(key=f"accuracy_{condition.name}", label=condition.title, group="Balanced accuracy")
        for condition in evaluation.conditions
    ]
    return Table(
        key="leaderboard",
        title="Detectors on the same images",
        labels=("Detector",),
        columns=(*auroc, *accuracy),
        rows=tuple(
            Row(labels={"Detector": describe_name(detector)}, cells=_compute_leaderboard_cells(evaluation, detector))
            for detector in evaluation.detectors
        ),
        note=_describe_conditions(evaluation)
        + " Balanced accuracy: the mean of the accuracies on real and on fake images, where an image that the detector "
        "calls unsure is not correct.",
    )


def build_metrics_table(evaluation: Evaluation, metrics: Sequence[Metric]) -> Table:
    """Return the table of the metrics, a row for each detector and condition."""
    rows = []
    for detector in evaluation.finished:
        for condition in evaluation.conditions:
            images = evaluation.get_images(detector, condition.name)
            if images is not None:
                cells = make_cells({metric.key: metric.measure(images) for metric in metrics})
                rows.append(Row(labels={"Detector": detector.name, "Images": condition.title}, cells=cells))
    return Table(
        key="detector_metrics",
        title="All metrics",
        labels=("Detector", "Images"),
        columns=tuple(
            Column(key=metric.key, label=metric.label, chance=metric.chance, better=metric.better) for metric in metrics
        ),
        rows=tuple(rows),
        note="Accuracy: share of the images that are correctly called; unsure is not correct. TPR at 1 % FPR: share of "
        "the fake images above the score that 1 % of the real images exceed. ECE: expected calibration error, in ten "
        "bins. ECE and Brier score need probabilities, accuracies a threshold.",
    )


def build_generator_table(evaluation: Evaluation) -> Table:
    """Return the table of generators: the fakes of each against all real images."""
    generators, is_real = evaluation.column("generator"), evaluation.labels == 0
    rows: list[Row] = []
    for name in sorted(set(generators[~is_real])):
        is_generator = ~is_real & (generators == name)
        if is_generator.sum() >= MIN_IMAGES:
            rows += _list_subset_rows(evaluation, "Generator", str(name), is_generator | is_real, label=1)
    return Table(
        key="by_generator",
        title="Each generator",
        labels=("Generator", "Detector"),
        columns=_list_subset_columns(evaluation, "Accuracy on its images"),
        rows=tuple(rows),
        note="AUROC: images of the generator against all real images. Accuracy: of the images of the generator.",
    )


def build_source_table(evaluation: Evaluation) -> Table:
    """Return the table of sources of real images: those of each against all fakes."""
    sources, is_fake = evaluation.column("source"), evaluation.labels == 1
    rows: list[Row] = []
    for name in sorted(set(sources[~is_fake])):
        is_source = ~is_fake & (sources == name)
        if is_source.sum() >= MIN_IMAGES:
            rows += _list_subset_rows(evaluation, "Source", str(name), is_source | is_fake, label=0)
    return Table(
        key="by_source",
        title="Each source of real images",
        labels=("Source", "Detector"),
        columns=_list_subset_columns(evaluation, "Accuracy on its images"),
        rows=tuple(rows),
        note="AUROC: all fake images against the real images of the source. Accuracy: of the real images of the "
        "source. A source on which a detector scores low is a hard class of real images.",
    )


def build_difference_table(evaluation: Evaluation) -> Table:
    """Return the paired differences of all pairs of detectors."""
    rows = []
    for first, second in combinations(evaluation.finished, 2):
        cells = _compare_detectors(evaluation, first, second)
        if cells:
            rows.append(Row(labels={"Detector": first.name, "Against": second.name}, cells=cells))
    titles = (("auroc", "AUROC"), ("accuracy", "Balanced accuracy"))
    return Table(
        key="detector_differences",
        title="Differences between detectors",
        labels=("Detector", "Against"),
        columns=tuple(
            Column(key=f"{key}_{condition.name}", label=condition.title, group=f"{title}, difference", better="none")
            for key, title in titles
            for condition in evaluation.conditions
        ),
        rows=tuple(rows),
        note="The first detector minus the second one, on the images that both have scored; positive if the first is "
        "better. The intervals are paired: both detectors see the same clusters. They are not corrected for the number "
        "of pairs: of twenty differences that are none, one interval on average does not contain zero.",
    )


def describe_name(detector: DetectorScores) -> str:
    """Return the name of a detector for the leaderboard, which says if it failed."""
    return detector.name if detector.failure is None else f"{detector.name} (failed)"


def make_cells(intervals: Mapping[str, Interval | None]) -> Cells:
    """Return the estimates of the metrics that could be measured."""
    return {
        key: make_estimate(interval)
        for key, interval in intervals.items()
        if interval is not None and math.isfinite(interval.value)
    }


def _describe_conditions(evaluation: Evaluation) -> str:
    sentences = [f"{condition.title}: {condition.description}." for condition in evaluation.conditions]
    if len(sentences) > 1:
        sentences.append("All together: the AUROC of all these images (robust AUROC).")
    return " ".join(sentences)


def _compute_leaderboard_cells(evaluation: Evaluation, detector: DetectorScores) -> Cells:
    if detector.failure is not None:
        return {}
    measured: dict[str, Interval | None] = {}
    scored: list[ScoredImages] = []
    for condition in evaluation.conditions:
        images = evaluation.get_images(detector, condition.name)
        if images is not None:
            scored.append(images)
            measured[f"auroc_{condition.name}"] = measure_auroc(images)
            measured[f"accuracy_{condition.name}"] = measure_balanced_accuracy(images)
    if 1 < len(scored) == len(evaluation.conditions):
        measured[f"auroc_{_ROBUST}"] = statistic_interval(compute_robust_auroc(scored))
    return make_cells(measured)


def _list_subset_columns(evaluation: Evaluation, accuracy: str) -> tuple[Column, ...]:
    names = [(condition.name, condition.title) for condition in evaluation.conditions]
    return (
        *(Column(key=f"auroc_{name}", label=title, group="AUROC", chance=0.5) for name, title in names),
        *(Column(key=f"accuracy_{name}", label=title, group=accuracy) for name, title in names),
    )


def _list_subset_rows(evaluation: Evaluation, kind: str, name: str, mask: Mask, label: int) -> Iterator[Row]:
    """Yield a row for each detector, of the images in a mask; accuracies are those on the images of one label."""
    for detector in evaluation.finished:
        measured: dict[str, Interval | None] = {}
        for condition in evaluation.conditions:
            images = evaluation.get_images(detector, condition.name, mask)
            if images is not None:
                measured[f"auroc_{condition.name}"] = measure_auroc(images)
                measured[f"accuracy_{condition.name}"] = measure_recall(images, label)
        cells = make_cells(measured)
        if cells:
            yield Row(labels={kind: name, "Detector": detector.name}, cells=cells)


def _compare_detectors(evaluation: Evaluation, first: DetectorScores, second: DetectorScores) -> Cells:
    measured: dict[str, Interval | None] = {}
    for condition in evaluation.conditions:
        pair = evaluation.get_common_images(first, second, condition.name)
        if pair is not None:
            measured[f"auroc_{condition.name}"] = compare_aurocs(*pair)
            measured[f"accuracy_{condition.name}"] = compare_balanced_accuracies(*pair)
    return make_cells(measured)
