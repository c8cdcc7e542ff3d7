"""The thresholds of the labels: chosen on held-out images, so that error rates hold on most sources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from changeling.detect.cross_validation import FOLDS, HeldOutScores
from changeling.detect.held_out import HeldOutImages, load_held_out
from changeling.detect.model import LARGE_SOURCE, ErrorRate, TrainedModel
from changeling.detect.training_set import ImageRows
from changeling.errors import ModelError
from changeling.stats.intervals import clopper_pearson
from changeling.stats.metrics import Floats, Ints
from changeling.stats.source_thresholds import source_threshold, tolerance_limit

FALSE_POSITIVE_RATE = 0.01  # of real images, that are called fake
FALSE_NEGATIVE_RATE = 0.2  # of fake images, that are called real
MIN_RATE, MAX_RATE = 0.001, 0.2
MIN_SOURCES = 30  # of a class, to say anything about new ones
MIN_OTHER_SOURCES = 20  # of them, when some are left out to be judged
MIN_SOURCE_IMAGES = 5  # of a class, that a source needs to count


@dataclass(frozen=True, slots=True)
class SourceErrors:
    """How many images of one class of a held-out source were called the other class, at thresholds chosen without it.

    Attributes:
        images: of that class.
        wrong: of them, as they are.
        wrong_copies: of their cropped and resaved copies.
        found: of them, as they are, that were called the right class.
    """

    source: str
    label: int
    images: int
    wrong: int
    wrong_copies: int
    found: int

    @property
    def error_rate(self) -> float:
        """The share of wrong labels, of images and copies together."""
        return (self.wrong + self.wrong_copies) / (2 * self.images)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores: an image is called real below the one, fake above the other, and unsure in between."""

    real_below: float
    fake_above: float

    def call(self, scores: Floats) -> Ints:
        """Return the labels of scores (N,): 0 for real, 1 for fake, -1 for unsure."""
        return np.where(scores > self.fake_above, 1, np.where(scores < self.real_below, 0, -1))


def choose_thresholds(
    held_out: HeldOutImages,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
    false_negative_rate: float = FALSE_NEGATIVE_RATE,
    seed: int = 0,
) -> Thresholds:
    """Choose both thresholds so that most sources, also new ones, keep the error rates, on images and on copies.

    With too few sources of a class, nothing can be said of new ones: then at most the given share of clusters has a
    wrong label (`stats.source_thresholds.tolerance_limit`).
    """
    reals, fakes = held_out.select(0), held_out.select(1)
    fake_above = _choose_limit(reals.rows, reals.scores, false_positive_rate, seed)
    negated = HeldOutScores(-fakes.scores.images, -fakes.scores.copies)
    real_below = -_choose_limit(fakes.rows, negated, false_negative_rate, seed)
    return Thresholds(min(real_below, fake_above), fake_above)


def describe_threshold_problem(thresholds: Thresholds, scores: Floats) -> str | None:
    """Return what is wrong with the labels of held-out images (N,), and what to do; None if nothing is."""
    labels = set(thresholds.call(scores).tolist())
    missing = [name for label, name in ((0, "real"), (1, "fake")) if label not in labels]
    if missing:
        return (
            f"no held-out image is called {' or '.join(missing)}; train on more images of more sources, or on the "
            "features of another backbone"
        )
    if thresholds.real_below == thresholds.fake_above:
        return (
            "the thresholds of real and fake are the same, so no image will be called unsure for its score; train on "
            "more images of more sources, also on some that are hard to tell"
        )
    return None


def change_error_rates(
    trained: TrainedModel, folder: Path, false_positive_rate: float | None, false_negative_rate: float | None
) -> TrainedModel:
    """Return the model in `folder` with thresholds for other error rates; None stands for the rate it was trained with.

    Raises:
        ModelError: a rate is out of range, or the folder has no held-out scores.
    """
    positive_rate = FALSE_POSITIVE_RATE if false_positive_rate is None else false_positive_rate
    negative_rate = FALSE_NEGATIVE_RATE if false_negative_rate is None else false_negative_rate
    for name, rate in (("false positive rate", positive_rate), ("false negative rate", negative_rate)):
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ModelError(f"the {name} must be from {MIN_RATE:g} to {MAX_RATE:g}, not {rate:g}")
    held_out, seed = load_held_out(folder), int(trained.model.settings["seed"])
    thresholds = choose_thresholds(held_out, positive_rate, negative_rate, seed)
    judged = judge_sources(held_out, positive_rate, negative_rate, seed)
    update = {
        "real_below": trained.convert_score(thresholds.real_below),
        "fake_above": trained.convert_score(thresholds.fake_above),
        "false_positives": summarise_errors(judged, 0, positive_rate),
        "false_negatives": summarise_errors(judged, 1, negative_rate),
    }
    return replace(trained, model=trained.model.model_copy(update=update))


def judge_sources(
    held_out: HeldOutImages, false_positive_rate: float, false_negative_rate: float, seed: int = 0
) -> list[SourceErrors]:
    """Return the errors on each source of at least MIN_SOURCE_IMAGES of a class: real images first, then fakes.

    The worst source comes first. Sources are divided into FOLDS parts; the thresholds for one are chosen on the others.
    A class of fewer than MIN_SOURCES sources is not judged.
    """
    judged_labels = [label for label in (0, 1) if _count_sources(held_out.select(label).rows) >= MIN_SOURCES]
    names = np.unique(held_out.rows.sources.astype(str))
    parts = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    judged: list[SourceErrors] = []
    for part in range(FOLDS):
        is_judged = np.isin(held_out.rows.sources.astype(str), names[parts == part])
        others = held_out.take(np.flatnonzero(~is_judged))
        if judged_labels and len(set(others.rows.labels)) == 2:
            thresholds = choose_thresholds(others, false_positive_rate, false_negative_rate, seed)
            judged += _count_errors(held_out.take(np.flatnonzero(is_judged)), thresholds)
    judged = [errors for errors in judged if errors.label in judged_labels]
    return sorted(judged, key=lambda errors: (errors.label, -errors.error_rate, -errors.images, errors.source))


def measure_flips(held_out: HeldOutImages, thresholds: Thresholds) -> tuple[float, float]:
    """Return the share of images whose copy has the opposite label (real, fake), and the share with another label."""
    images, copies = thresholds.call(held_out.scores.images), thresholds.call(held_out.scores.copies)
    is_decided = (images >= 0) & (copies >= 0)
    is_other = images != copies
    return float((is_decided & is_other).mean()), float(is_other.mean())


def summarise_errors(judged: list[SourceErrors], label: int, rate: float) -> ErrorRate:
    """Return on how many of the judged sources at most a share `rate` of the images of class `label` is wrong."""
    sources = [errors for errors in judged if errors.label == label]
    large = [errors for errors in sources if errors.images >= LARGE_SOURCE]
    within, large_within = (sum(errors.error_rate <= rate for errors in some) for some in (sources, large))
    low, high = clopper_pearson(within, len(sources)) if sources else (0.0, 1.0)
    images = max(sum(errors.images for errors in sources), 1)
    return ErrorRate(
        rate=rate,
        sources=len(sources),
        within=within,
        low=low,
        high=high,
        large_sources=len(large),
        large_within=large_within,
        mean=float(np.mean([errors.error_rate for errors in sources])) if sources else 0.0,
        right=sum(errors.found for errors in sources) / images,
        wrong=sum(errors.wrong for errors in sources) / images,
    )


def _choose_limit(rows: ImageRows, scores: HeldOutScores, rate: float, seed: int) -> float:
    """Return a limit that most sources exceed with at most a share `rate` of their images, or copies."""
    counts = Counter(rows.sources)
    is_counted = np.array([counts[source] >= MIN_SOURCE_IMAGES for source in rows.sources])
    forms = (scores.images, scores.copies)
    if _count_sources(rows) >= MIN_OTHER_SOURCES:
        sources = rows.sources[is_counted]
        return max(source_threshold(values[is_counted], sources, rate, seed=seed) for values in forms)
    return max(tolerance_limit(_take_cluster_maxima(values, rows.clusters), 1 - rate) for values in forms)


def _count_sources(rows: ImageRows) -> int:
    return sum(count >= MIN_SOURCE_IMAGES for count in Counter(rows.sources).values())


def _take_cluster_maxima(scores: Floats, clusters: Ints) -> Floats:
    _, index = np.unique(clusters, return_inverse=True)
    maxima = np.full(int(index.max()) + 1, -np.inf)
    np.maximum.at(maxima, index, scores)
    return maxima


def _count_errors(held_out: HeldOutImages, thresholds: Thresholds) -> list[SourceErrors]:
    """Count wrong and right labels on each source and class with enough images."""
    counted = []
    for label in (0, 1):
        images = held_out.select(label)
        for source, count in Counter(images.rows.sources).items():
            if count < MIN_SOURCE_IMAGES:
                continue
            scores = images.take(np.flatnonzero(images.rows.sources == source)).scores
            wrong, wrong_copies = (thresholds.call(values) == 1 - label for values in (scores.images, scores.copies))
            found = thresholds.call(scores.images) == label
            counted.append(
                SourceErrors(source, label, count, int(wrong.sum()), int(wrong_copies.sum()), int(found.sum()))
            )
    return counted
