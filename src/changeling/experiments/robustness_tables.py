"""Tables, plots and summary of the experiment `robustness`, from the scores of its probes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from changeling.experiments.reporting import make_curve, make_estimate
from changeling.images.transformations import TRANSFORMATIONS, Transformation
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Column, Curve, Estimate, Plot, Row, Table
from changeling.stats import metrics
from changeling.stats.cluster_statistics import ClusterStatistic, auroc_statistic
from changeling.stats.intervals import (
    Interval,
    combination_interval,
    difference_interval,
    ratio_interval,
    statistic_interval,
)
from changeling.stats.metrics import Ratio

TRAININGS = {"clean": "trained on unchanged images", "mixed": "trained with transformed images, too"}
STRENGTHS = [(item.name, strength) for item in TRANSFORMATIONS.values() for strength in item.strengths]
METRICS = {"auroc": "AUROC", "accuracy": "Accuracy", "full": "Full cluster", "fpr": "False positive rate"}
UNCHANGED = "unchanged"
LISTED = 4  # transformations that a summary names
Statistic: TypeAlias = Ratio | ClusterStatistic


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of the scores of all test images, which are transformed in the same way; the fields are METRICS."""

    auroc: ClusterStatistic
    accuracy: Ratio
    full: Ratio
    fpr: Ratio


@dataclass(frozen=True)
class Scores:
    """Scores of the test images by both probes on one backbone's features.

    Attributes:
        labels, clusters: int64 (N,).
        values: for each training, float64 (N, 1 + V): of the unchanged images, then of each entry of STRENGTHS.
        validation: AUROC on the unchanged validation images, of the probe trained on unchanged images; NaN if C is
            given, as there is nothing to choose then.
    """

    backbone: str
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    validation: float

    def measure_robust_auroc(self, training: str) -> ClusterStatistic:
        """Return the AUROC of unchanged and transformed images together, as the NTIRE 2026 challenge scores."""
        values = self.values[training]
        labels, clusters = (np.repeat(each, values.shape[1]) for each in (self.labels, self.clusters))
        return auroc_statistic(labels, values.ravel(), clusters)

    def measure_auroc(self, training: str, name: str) -> list[ClusterStatistic]:
        """Return the AUROC at each strength of a transformation, or that of the unchanged images in a list."""
        return [self.measured[training][column].auroc for column in _find_columns(name)]

    @cached_property
    def measured(self) -> dict[str, list[Measured]]:
        """The metrics of each column of the scores, for each training."""
        return {training: [self._measure(column) for column in values.T] for training, values in self.values.items()}

    def _measure(self, scores: NDArray[np.float64]) -> Measured:
        predicted = (scores > 0).astype(np.int64)
        return Measured(
            auroc=auroc_statistic(self.labels, scores, self.clusters),
            accuracy=metrics.overall_accuracy(self.labels, predicted, self.clusters),
            full=metrics.full_cluster_accuracy(self.labels, predicted, self.clusters),
            # the recall of real images if all predictions were the other way round
            fpr=metrics.recall(self.labels, 1 - predicted, self.clusters, 0),
        )


def build_tables(scores: Sequence[Scores]) -> tuple[Table, ...]:
    """Return the tables: robust AUROC; the mean over strengths of each transformation; each strength."""
    return (
        Table(
            key="robust_auroc",
            title="Unchanged and transformed images together",
            labels=("Backbone",),
            columns=tuple(
                Column(key=f"{training}_{key}", label=label, group=_capitalise(title), chance=0.5)
                for training, title in TRAININGS.items()
                for key, label in (("unchanged", "AUROC, unchanged"), ("robust", "Robust AUROC"))
            ),
            rows=tuple(Row(labels={"Backbone": one.backbone}, cells=_compute_robust_cells(one)) for one in scores),
            note="AUROC: probability that a fake image scores higher than a real one. Robust: all images together, "
            "unchanged and with each transformation at each strength. The probe that is trained with transformed "
            "images has seen every kind of transformation, but not these images.",
        ),
        Table(
            key="transformations",
            title="Each transformation, mean over its strengths",
            labels=("Backbone", "Images"),
            columns=_list_columns(),
            rows=tuple(_list_mean_rows(scores)),
            note=_describe_metrics(scores[0]),
        ),
        Table(
            key="strengths",
            title="Each transformation at each strength",
            labels=("Backbone", "Transformation", "Strength"),
            columns=_list_columns(),
            rows=tuple(_list_strength_rows(scores)),
            note=" ".join(f"{_capitalise(item.name)}: {item.parameter}." for item in TRANSFORMATIONS.values()),
        ),
    )


def plot_strengths(scores: Sequence[Scores]) -> tuple[Plot, ...]:
    """Return a plot of AUROC over strength for each backbone and transformation, with a curve for each training."""
    return tuple(
        Plot(
            title=f"AUROC over the strength of each transformation, {one.backbone}",
            of=_describe_strengths(item),
            x_label="strength; 0: unchanged",
            y_label="AUROC on the test images",
            share=True,
            chance=0.5,
            curves=tuple(_draw_curve(one, training, item.name) for training in TRAININGS),
        )
        for one in scores
        for item in TRANSFORMATIONS.values()
    )


def summarise(scores: Sequence[Scores]) -> str:
    """Return what breaks the probe and what does not, and what training with transformed images changes.

    It is about the backbone with the highest AUROC on the validation images, or the first if C is given.
    """
    known = [one for one in scores if not math.isnan(one.validation)]
    best = max(known, key=lambda one: one.validation) if known else scores[0]
    features = f"{best.backbone} features{', the best on validation,' if len(known) > 1 else ''}"
    unchanged = make_estimate(statistic_interval(*best.measure_auroc("clean", UNCHANGED)))
    start = f"On unchanged test images, a linear probe on {features} has an AUROC of {_format(unchanged)}"
    if unchanged.low <= 0.5:
        return f"{start}, which may be chance; so these data cannot tell what transformations change."
    return f"{start}{_summarise_losses(best)}. {_summarise_training(best)}"


def note_comparisons(scores: Sequence[Scores]) -> Iterator[str]:
    """Yield a note on what the intervals of many transformations mean."""
    yield (
        f"Each interval is that of a single comparison. Of {len(TRANSFORMATIONS)} transformations that change nothing, "
        "about one would seem to change the AUROC."
    )
    if {len(one.labels) for one in scores} != {len(scores[0].labels)}:
        yield "The backbones were not tested on the same images, because some images could not be read."


def _find_columns(name: str) -> list[int]:
    """Return the columns of the scores that a transformation has, or that of the unchanged images."""
    if name == UNCHANGED:
        return [0]
    return [1 + place for place, (own, _) in enumerate(STRENGTHS) if own == name]


def _list_columns() -> tuple[Column, ...]:
    return tuple(
        Column(
            key=f"{training}_{key}",
            label=label,
            group=_capitalise(title),
            chance=0.5 if key == "auroc" else None,
            better="low" if key == "fpr" else "high",
        )
        for training, title in TRAININGS.items()
        for key, label in METRICS.items()
    )


def _compute_robust_cells(scores: Scores) -> dict[str, Estimate]:
    cells: dict[str, Estimate] = {}
    for training in TRAININGS:
        (unchanged,) = scores.measure_auroc(training, UNCHANGED)
        robust = replace(statistic_interval(scores.measure_robust_auroc(training)), images=len(scores.labels))
        cells |= {
            f"{training}_unchanged": make_estimate(statistic_interval(unchanged)),
            f"{training}_robust": make_estimate(robust),
        }
    return cells


def _list_mean_rows(scores: Sequence[Scores]) -> Iterator[Row]:
    for one in scores:
        for name in (UNCHANGED, *TRANSFORMATIONS):
            yield Row(labels={"Backbone": one.backbone, "Images": name}, cells=_compute_cells(one, _find_columns(name)))


def _list_strength_rows(scores: Sequence[Scores]) -> Iterator[Row]:
    for one in scores:
        for place, (name, strength) in enumerate(STRENGTHS):
            labels = {"Backbone": one.backbone, "Transformation": name, "Strength": f"{strength:g}"}
            yield Row(labels=labels, cells=_compute_cells(one, [1 + place]))


def _compute_cells(scores: Scores, columns: Sequence[int]) -> dict[str, Estimate]:
    """Return the mean of each metric over columns of the scores, for both trainings.

    Every estimate has the counts of all test images, also a false positive rate, which rests on the real ones.
    """
    cells: dict[str, Estimate] = {}
    for training in TRAININGS:
        measured = [scores.measured[training][column] for column in columns]
        for key in METRICS:
            interval = _mean_interval([getattr(one, key) for one in measured])
            counts = {"clusters": int(scores.clusters.max()) + 1, "images": len(scores.labels)}
            cells[f"{training}_{key}"] = make_estimate(replace(interval, **counts))
    return cells


def _mean_interval(statistics: Sequence[Statistic]) -> Interval:
    """Return the mean of statistics of the same images."""
    first = statistics[0]
    if len(statistics) > 1:
        return combination_interval(statistics, [1 / len(statistics)] * len(statistics))
    return ratio_interval(first) if isinstance(first, Ratio) else statistic_interval(first)


def _draw_curve(scores: Scores, training: str, name: str) -> Curve:
    statistics = scores.measure_auroc(training, UNCHANGED) + scores.measure_auroc(training, name)
    intervals = [statistic_interval(statistic) for statistic in statistics]
    return make_curve(TRAININGS[training], range(len(intervals)), intervals)


def _summarise_losses(scores: Scores) -> str:
    """Return which transformation lowers the AUROC most, and for which it may as well be the same as before."""
    means, losses = {}, {}
    unchanged = scores.measure_auroc("clean", UNCHANGED)
    for name in TRANSFORMATIONS:
        aurocs = scores.measure_auroc("clean", name)
        means[name] = make_estimate(_mean_interval(aurocs))
        losses[name] = combination_interval([*unchanged, *aurocs], [1.0, *[-1 / len(aurocs)] * len(aurocs)])
    worst = max(losses, key=lambda name: losses[name].value)
    average = f"on average over {format_count(len(_find_columns(worst)), 'strength', 'strengths')}"
    if losses[worst].low <= 0:
        return (
            f"; no transformation lowers it by more than these data can tell, not even {worst} with "
            f"{_format(means[worst])} {average}"
        )
    harmless = sorted((name for name in losses if losses[name].low <= 0), key=lambda name: losses[name].value)
    listed = ", ".join(harmless[:LISTED]) + (f" and {len(harmless) - LISTED} more" if len(harmless) > LISTED else "")
    return (
        f"; {worst} breaks it most, to {_format(means[worst])} {average}, and "
        + (f"it withstands {listed}, which lower it by no more than these data can tell" if harmless else "")
        + ("" if harmless else f"each of the {len(losses)} transformations lowers it")
    )


def _summarise_training(scores: Scores) -> str:
    """Return what training with transformed images does to robust AUROC."""
    clean, mixed = (scores.measure_robust_auroc(training) for training in ("clean", "mixed"))
    change = difference_interval(mixed, clean)
    before, after = (make_estimate(statistic_interval(one)) for one in (clean, mixed))
    start = (
        f"Unchanged and transformed images together, its AUROC is {_format(before)}; if it is trained with transformed "
        f"images, too, {_format(after)}"
    )
    if change.low > 0:
        return f"{start}, which is higher."
    return f"{start}, which is lower." if change.high < 0 else f"{start}: a difference that may be chance."


def _format(estimate: Estimate) -> str:
    return f"{format_percent(estimate.value)} ({format_interval(estimate)})"


def _describe_strengths(transformation: Transformation) -> str:
    """Return the name of a transformation and what its strengths are: "JPEG: quality (90, 75, 50)"."""
    listed = ", ".join(f"{strength:g}" for strength in transformation.strengths)
    return f"{_capitalise(transformation.name)}: {transformation.parameter} ({listed})"


def _describe_metrics(scores: Scores) -> str:
    reals = int((scores.labels == 0).sum())
    return (
        "Accuracy: share of images labelled correctly. Full cluster: share of clusters in which every image is "
        f"labelled correctly. False positive rate: share of the {format_count(reals, 'real image', 'real images')} "
        "that are called fake. Each is the mean over the strengths of a transformation."
    )


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]
