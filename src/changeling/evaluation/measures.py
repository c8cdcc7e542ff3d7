"""The metrics of a detector's scores, each with its 95 % interval over clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from changeling.stats import metrics
from changeling.stats.calibration import expected_calibration_error
from changeling.stats.cluster_statistics import ClusterStatistic, auroc_statistic
from changeling.stats.intervals import (
    Interval,
    basic_bootstrap,
    bootstrap,
    combination_interval,
    difference_interval,
    mean_interval,
    ratio_interval,
    statistic_interval,
)
from changeling.stats.metrics import Floats, Ints, Ratio

UNSURE = -1  # the prediction of an image that the detector does not decide


@dataclass(frozen=True, slots=True)
class ScoredImages:
    """Images that a detector has scored.

    Attributes:
        labels, clusters: int64 (N,); not every number needs to occur among the clusters.
        scores: float64 (N,), finite; the higher, the more likely generated.
        predictions: int64 (N,): 0 real, 1 fake, UNSURE; None if no threshold is known.
        are_probabilities: whether the scores are probabilities.
    """

    labels: Ints
    clusters: Ints
    scores: Floats
    predictions: Ints | None
    are_probabilities: bool

    def select(self, rows: Ints) -> ScoredImages:
        """Return the images of some rows, which may repeat."""
        predictions = None if self.predictions is None else self.predictions[rows]
        return replace(
            self,
            labels=self.labels[rows],
            clusters=self.clusters[rows],
            scores=self.scores[rows],
            predictions=predictions,
        )


Compute = Callable[[ScoredImages], float]
Measure = Callable[[ScoredImages], Interval | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        key, label: in tables.
        compute: returns its value on at least one image; NaN if a class is missing, or what `measure` gives None for.
        measure: returns its interval; None if the scores do not allow it, as where there is no threshold.
        better: whether a high or a low value is better.
        is_biased: whether its values on resamples are biased, so that a bootstrap has to be reflected.
    """

    key: str
    label: str
    compute: Compute
    measure: Measure
    chance: float | None = None
    better: Literal["high", "low", "none"] = "high"
    is_biased: bool = False


def compute_auroc(images: ScoredImages) -> float:
    """Return the AUROC; NaN if a class is missing."""
    return metrics.auroc(images.labels, images.scores)


def compute_average_precision(images: ScoredImages) -> float:
    """Return the average precision; NaN if there is no fake."""
    return metrics.average_precision(images.labels, images.scores)


def compute_recall(images: ScoredImages, label: int) -> float:
    """Return the share of the images of one label that are called so; NaN if there is none, or no threshold."""
    has_label = images.labels == label
    if images.predictions is None or not has_label.any():
        return float("nan")
    return float((images.predictions[has_label] == label).mean())


def compute_balanced_accuracy(images: ScoredImages) -> float:
    """Return the mean of the accuracies on real and on fake images; NaN if a class or the threshold is missing."""
    return (compute_recall(images, 0) + compute_recall(images, 1)) / 2


def compute_true_positive_rate(images: ScoredImages, false_positive_rate: float) -> float:
    """Return the share of fakes above the threshold that this share of the real images exceeds."""
    return metrics.true_positive_rate(images.labels, images.scores, false_positive_rate)


def compute_calibration_error(images: ScoredImages) -> float:
    """Return the expected calibration error of probabilities, in ten bins; NaN for other scores."""
    return expected_calibration_error(images.labels, images.scores) if images.are_probabilities else float("nan")


def compute_brier_score(images: ScoredImages) -> float:
    """Return the Brier score of probabilities; NaN for other scores."""
    return float(((images.scores - images.labels) ** 2).mean()) if images.are_probabilities else float("nan")


def compute_abstention(images: ScoredImages) -> float:
    """Return the share of images that the detector does not decide; NaN without a threshold."""
    return float("nan") if images.predictions is None else float((images.predictions == UNSURE).mean())


def measure_auroc(images: ScoredImages) -> Interval | None:
    """Return the AUROC; None if a class is missing."""
    return statistic_interval(summarise_auroc(images)) if _has_both_classes(images) else None


def measure_average_precision(images: ScoredImages) -> Interval | None:
    """Return the average precision."""
    return _bootstrap(images, compute_average_precision) if _has_both_classes(images) else None


def measure_balanced_accuracy(images: ScoredImages) -> Interval | None:
    """Return the mean of the accuracies on real and on fake images."""
    recalls = compute_recalls(images)
    return mean_interval(*recalls) if recalls and _has_both_classes(images) else None


def measure_recall(images: ScoredImages, label: int) -> Interval | None:
    """Return the share of the images of one label that are called so; an undecided image is not."""
    recalls = compute_recalls(images)
    return ratio_interval(recalls[label]) if recalls and (images.labels == label).any() else None


def measure_true_positive_rate(images: ScoredImages, false_positive_rate: float) -> Interval | None:
    """Return the share of fakes above the threshold that this share of the real images exceeds."""
    compute = partial(compute_true_positive_rate, false_positive_rate=false_positive_rate)
    return _bootstrap(images, compute) if _has_both_classes(images) else None


def measure_calibration_error(images: ScoredImages) -> Interval | None:
    """Return the expected calibration error of probabilities, in ten bins."""
    if not images.are_probabilities or not len(images.labels):
        return None
    value, low, high = basic_bootstrap(lambda drawn: compute_calibration_error(images.select(drawn)), images.clusters)
    return Interval(value, low, high, len(np.unique(images.clusters)), len(images.labels))


def measure_brier_score(images: ScoredImages) -> Interval | None:
    """Return the Brier score of probabilities."""
    if not images.are_probabilities or not len(images.labels):
        return None
    return ratio_interval(metrics.brier_score(images.labels, images.scores, images.clusters))


def measure_abstention(images: ScoredImages) -> Interval | None:
    """Return the share of images that the detector does not decide."""
    if images.predictions is None or not len(images.labels):
        return None
    return ratio_interval(metrics.share_of(images.predictions == UNSURE, images.clusters))


METRICS = (
    Metric("auroc", "AUROC", compute_auroc, measure_auroc, chance=0.5),
    Metric("average_precision", "Average precision", compute_average_precision, measure_average_precision),
    Metric("balanced_accuracy", "Balanced accuracy", compute_balanced_accuracy, measure_balanced_accuracy),
    Metric("accuracy_real", "Accuracy, real", partial(compute_recall, label=0), partial(measure_recall, label=0)),
    Metric("accuracy_fake", "Accuracy, fake", partial(compute_recall, label=1), partial(measure_recall, label=1)),
    Metric(
        "tpr_at_1",
        "TPR at 1 % FPR",
        partial(compute_true_positive_rate, false_positive_rate=0.01),
        partial(measure_true_positive_rate, false_positive_rate=0.01),
    ),
    Metric(
        "tpr_at_5",
        "TPR at 5 % FPR",
        partial(compute_true_positive_rate, false_positive_rate=0.05),
        partial(measure_true_positive_rate, false_positive_rate=0.05),
    ),
    Metric(
        "calibration_error", "ECE", compute_calibration_error, measure_calibration_error, better="low", is_biased=True
    ),
    Metric("brier_score", "Brier score", compute_brier_score, measure_brier_score, better="low"),
    Metric("abstention", "Abstention", compute_abstention, measure_abstention, better="none"),
)


def summarise_auroc(images: ScoredImages) -> ClusterStatistic:
    """Return the AUROC as a statistic of clusters."""
    return auroc_statistic(images.labels, images.scores, images.clusters)


def compute_robust_auroc(conditions: Sequence[ScoredImages]) -> ClusterStatistic:
    """Return the AUROC of the images of all conditions together, which have common clusters."""
    labels, scores, clusters = (
        np.concatenate([getattr(images, name) for images in conditions]) for name in ("labels", "scores", "clusters")
    )
    return auroc_statistic(labels, scores, clusters)


def compute_recalls(images: ScoredImages) -> tuple[Ratio, Ratio] | None:
    """Return the accuracies on real and on fake images, as ratios over clusters; None without predictions."""
    if images.predictions is None or not len(images.labels):
        return None
    real, fake = (metrics.recall(images.labels, images.predictions, images.clusters, label) for label in (0, 1))
    return real, fake


def compare_aurocs(first: ScoredImages, second: ScoredImages) -> Interval | None:
    """Return the paired difference of two AUROCs on the same images; None if a class is missing."""
    if not _has_both_classes(first):
        return None
    return difference_interval(summarise_auroc(first), summarise_auroc(second))


def compare_balanced_accuracies(first: ScoredImages, second: ScoredImages) -> Interval | None:
    """Return the paired difference of two balanced accuracies on the same images; None if one has no predictions."""
    recalls = compute_recalls(first), compute_recalls(second)
    if recalls[0] is None or recalls[1] is None or not _has_both_classes(first):
        return None
    return combination_interval((*recalls[0], *recalls[1]), (0.5, 0.5, -0.5, -0.5))


def _has_both_classes(images: ScoredImages) -> bool:
    return len(np.unique(images.labels)) == 2


def _bootstrap(images: ScoredImages, compute: Compute) -> Interval:
    trials = min(len(np.unique(images.clusters[images.labels == label])) for label in (0, 1))
    value, low, high = bootstrap(lambda drawn: compute(images.select(drawn)), images.clusters, trials=trials)
    return Interval(value, low, high, len(np.unique(images.clusters)), len(images.labels))
