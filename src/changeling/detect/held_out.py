"""What a head is judged by: images of sources and generators that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.detect.model import HeldOut
from changeling.errors import DatasetError
from changeling.stats import metrics
from changeling.stats.intervals import bootstrap
from changeling.stats.metrics import Floats, Ints

FOLDS = 10
UNKNOWN = "unknown"  # the name of no generator in particular
FEW = 10  # a generator with fewer images has no line of its own in the model card


@dataclass(frozen=True, slots=True)
class Rows:
    """What is known of each image besides its feature; all (N,)."""

    labels: Ints
    clusters: Ints
    sources: NDArray[np.object_]
    generators: NDArray[np.object_]  # None for a parent

    @classmethod
    def of(cls, dataset: Dataset, kept: Ints) -> Rows:
        """The rows `kept` of a dataset. Raises DatasetError if they are not enough to train on."""
        columns = [dataset.column(name)[kept] for name in ("source", "generator")]
        rows = cls(dataset.labels[kept], dataset.clusters[kept], *columns)
        if min(np.bincount(rows.labels, minlength=2)) < FOLDS:
            raise DatasetError(f"{dataset.path}: a detector needs {FOLDS} real and {FOLDS} fake images at the least")
        return rows

    def take(self, chosen: Ints) -> Rows:
        """Some of the rows."""
        return Rows(self.labels[chosen], self.clusters[chosen], self.sources[chosen], self.generators[chosen])


def splits(rows: Rows, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield (train, test) rows, so that each image is tested once, unless too little is left to train on.

    Sources stay whole, and training leaves out what shares a cluster with a test image and every fake by a generator
    that made one. With fewer sources than folds only clusters stay whole.
    """
    fold = _assign(rows.sources if by_source(rows) else rows.clusters, rows.labels, seed)
    for index in range(FOLDS):
        test = fold == index
        made = set(rows.generators[test]) - {None, UNKNOWN} if by_source(rows) else set()
        known = np.array([name in made for name in rows.generators])
        train = ~test & ~np.isin(rows.clusters, rows.clusters[test]) & ~known
        if len(set(rows.labels[train])) == 2 and test.any():
            yield np.flatnonzero(train), np.flatnonzero(test)


def by_source(rows: Rows) -> bool:
    """Whether there are enough sources to leave whole ones out, and with them whole generators."""
    return len(set(rows.sources)) >= FOLDS


def _assign(keys: NDArray[np.object_] | Ints, labels: Ints, seed: int) -> Ints:
    """Give each key a fold, the largest first, each to the fold that it leaves most even in both classes."""
    names, index = np.unique(keys.astype(str), return_inverse=True)
    sizes = np.stack([np.bincount(index, labels == label, len(names)) for label in (0, 1)], axis=1)
    share = sizes / sizes.sum(axis=0) * FOLDS
    jitter = np.random.default_rng(seed).uniform(0.6, 1.4, len(names))
    load, fold = np.zeros((FOLDS, 2)), np.zeros(len(names), np.int64)
    for key in np.argsort(-share.sum(axis=1) * jitter, kind="stable"):
        cost = ((load + share[key]) ** 2 - load**2).sum(axis=1)
        fold[key] = int(np.argmin(cost))
        load[fold[key]] += share[key]
    return fold[index]


def judge(rows: Rows, scores: Floats, resaved: Floats, seed: int) -> list[HeldOut]:
    """How held-out scores tell fakes from reals: of all, of re-saved copies, and by generator."""
    everything = np.flatnonzero(np.isfinite(scores))
    held = [
        _held_out("all", rows, scores, everything, seed),
        _held_out("all, re-saved", rows, resaved, everything, seed),
    ]
    names, counts = np.unique([name for name in rows.generators if name is not None], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        mine = everything[((rows.generators == name) | (rows.labels == 0))[everything]]
        if (rows.labels[mine] == 1).sum() >= FEW:
            held.append(_held_out(str(name), rows, scores, mine, seed))
    return held


def _held_out(name: str, rows: Rows, scores: Floats, chosen: Ints, seed: int) -> HeldOut:
    labels, values, clusters = rows.labels[chosen], scores[chosen], rows.clusters[chosen]

    trials = len(set(clusters[labels == 1]))

    def found(rate: float) -> tuple[float, float, float]:
        share = partial(metrics.true_positive_rate, false_positive_rate=rate)
        return bootstrap(lambda i: share(labels[i], values[i]), clusters, trials=trials, seed=seed)

    return HeldOut(
        generator=name,
        clusters=trials,
        images=int(labels.sum()),
        auroc=bootstrap(lambda i: metrics.auroc(labels[i], values[i]), clusters, trials=trials, seed=seed),
        found_at_5=found(0.05),
        found_at_1=found(0.01),
    )
