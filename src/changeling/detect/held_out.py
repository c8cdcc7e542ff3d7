"""Metrics of a detector on held-out images: overall, on resaved copies, and for each generator."""

from __future__ import annotations

from functools import partial

import numpy as np

from changeling.detect.cross_validation import HeldOutScores
from changeling.detect.model import HeldOut
from changeling.detect.training_set import ImageRows
from changeling.stats import metrics
from changeling.stats.intervals import bootstrap
from changeling.stats.metrics import Floats, Ints

MIN_GENERATOR_IMAGES = 10  # tested fakes that a generator needs for metrics of its own


def measure_held_out(rows: ImageRows, scores: HeldOutScores, seed: int) -> list[HeldOut]:
    """Return the metrics on all tested images, on their resaved copies, and for each generator, the largest first."""
    tested = np.flatnonzero(np.isfinite(scores.images))
    measured = [
        _measure("all", rows, scores.images, tested, seed),
        _measure("all, re-saved", rows, scores.resaved, tested, seed),
    ]
    names, counts = np.unique([name for name in rows.generators if name is not None], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        selected = tested[((rows.generators == name) | (rows.labels == 0))[tested]]
        if (rows.labels[selected] == 1).sum() >= MIN_GENERATOR_IMAGES:
            measured.append(_measure(str(name), rows, scores.images, selected, seed))
    return measured


def _measure(name: str, rows: ImageRows, scores: Floats, selected: Ints, seed: int) -> HeldOut:
    """Return the metrics on the images at `selected`, with bootstrap intervals over clusters."""
    labels, values, clusters = rows.labels[selected], scores[selected], rows.clusters[selected]
    fake_clusters = len(set(clusters[labels == 1]))

    def measure_tpr(false_positive_rate: float) -> tuple[float, float, float]:
        tpr = partial(metrics.true_positive_rate, false_positive_rate=false_positive_rate)
        return bootstrap(lambda i: tpr(labels[i], values[i]), clusters, trials=fake_clusters, seed=seed)

    return HeldOut(
        generator=name,
        clusters=fake_clusters,
        images=int(labels.sum()),
        auroc=bootstrap(lambda i: metrics.auroc(labels[i], values[i]), clusters, trials=fake_clusters, seed=seed),
        tpr_at_5=measure_tpr(0.05),
        tpr_at_1=measure_tpr(0.01),
    )
