"""Metrics of a detector on held-out images: overall, on altered copies, for each generator, and calibration."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np

from changeling.detect.cross_validation import can_hold_out_sources
from changeling.detect.held_out import HeldOutImages
from changeling.detect.model import HeldOut
from changeling.detect.thresholds import MIN_SOURCE_IMAGES
from changeling.detect.training_set import compute_sample_weights
from changeling.stats import metrics
from changeling.stats.calibration import Platt, expected_calibration_error
from changeling.stats.intervals import auroc_interval, bootstrap
from changeling.stats.metrics import Floats, Ints

MIN_GENERATOR_IMAGES = 10  # tested fakes that a generator needs for metrics of its own


def measure_held_out(held_out: HeldOutImages, seed: int) -> list[HeldOut]:
    """Return the metrics on all images, on their copies, and for each generator, the largest first."""
    rows, scores = held_out.rows, held_out.scores
    every = np.arange(len(rows.labels))
    measured = [
        _measure("all", held_out, scores.images, every, seed),
        _measure("all, cropped and re-saved", held_out, scores.copies, every, seed),
    ]
    names, counts = np.unique([name for name in rows.generators if name is not None], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        selected = np.flatnonzero((rows.generators == name) | (rows.labels == 0))
        if (rows.labels[selected] == 1).sum() >= MIN_GENERATOR_IMAGES:
            measured.append(_measure(str(name), held_out, scores.images, selected, seed))
    return measured


def measure_calibration(held_out: HeldOutImages, platt: Platt) -> list[float]:
    """Return the expected calibration error of each source and class with at least MIN_SOURCE_IMAGES images, sorted.

    The images of the source are set against all images of the other class, whose sources have equal weight; both
    classes have half of the weight.
    """
    rows, probabilities = held_out.rows, platt(held_out.scores.images)
    errors = []
    for label in (0, 1):
        is_other = rows.labels == 1 - label
        other_weights = compute_sample_weights(rows) * is_other
        for source, count in Counter(rows.sources[~is_other]).items():
            if count >= MIN_SOURCE_IMAGES and is_other.any():
                is_source = ~is_other & (rows.sources == source)
                weights = 0.5 * other_weights / other_weights.sum() + 0.5 * is_source / count
                errors.append(expected_calibration_error(rows.labels, probabilities, weights=weights))
    return sorted(errors)


def _measure(name: str, held_out: HeldOutImages, scores: Floats, selected: Ints, seed: int) -> HeldOut:
    """Return the metrics on the images at `selected`, with intervals over sources, or clusters if sources are few."""
    rows = held_out.rows
    unit_names = rows.sources.astype(str) if can_hold_out_sources(rows) else rows.clusters
    units = np.unique(unit_names, return_inverse=True)[1][selected]
    labels, values = rows.labels[selected], scores[selected]
    fake_units = len(set(units[labels == 1]))
    auroc = auroc_interval(labels, values, units)

    def measure_tpr(false_positive_rate: float) -> tuple[float, float, float]:
        tpr = partial(metrics.true_positive_rate, false_positive_rate=false_positive_rate)
        return bootstrap(lambda i: tpr(labels[i], values[i]), units, trials=fake_units, seed=seed)

    return HeldOut(
        generator=name,
        clusters=fake_units,
        images=int(labels.sum()),
        auroc=(auroc.value, auroc.low, auroc.high),
        tpr_at_5=measure_tpr(0.05),
        tpr_at_1=measure_tpr(0.01),
    )
