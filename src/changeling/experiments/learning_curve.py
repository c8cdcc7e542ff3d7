"""How the AUROC of a probe grows with the number of clusters that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.experiments.generator_probes import GeneratorProbes, Rows
from changeling.experiments.reporting import make_curve, make_estimate
from changeling.experiments.selection import draw_one_per_cluster
from changeling.results.result import Estimate, Plot
from changeling.stats.cluster_statistics import combine_seeds
from changeling.stats.intervals import statistic_interval

SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)  # clusters; and then all


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The AUROC on the test split of probes that are trained on `sizes` clusters, one estimate a size."""

    sizes: tuple[int, ...]
    estimates: tuple[Estimate, ...]


def evaluate_learning_curve(
    dataset: Dataset, probes: GeneratorProbes, generators: Sequence[str], draws: int, seed: int
) -> LearningCurve:
    """Train a probe on several random draws of clusters of each size, and test each on all children of the test split.

    The interval of an estimate covers other clusters for training as well as for testing.

    Args:
        generators: whose children are used.
        draws: the number of draws of each size.
    """
    rows = probes.select_rows("train", generators)
    sizes = list_sizes(_count_drawable_clusters(dataset, rows))
    estimates = []
    for size in sizes:
        scores = []
        for draw in range(draws):
            train = draw_training_rows(dataset, rows, size, np.random.default_rng([seed, draw]))
            scores.append(probes.evaluate(probes.fit(train, generators), generators).auroc)
        estimates.append(make_estimate(statistic_interval(combine_seeds(scores)), chance=0.5))
    return LearningCurve(sizes, tuple(estimates))


def list_sizes(clusters: int) -> tuple[int, ...]:
    """Return the numbers of clusters to train on: those of `SIZES` that are smaller than all, and all."""
    return (*(size for size in SIZES if size < clusters), clusters)


def draw_training_rows(dataset: Dataset, rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Return the real images of `size` random clusters, and a random child of each.

    A cluster without a child, or without a real image, is completed by another: there are as many of both. The
    clusters of a smaller size are among those of a larger one that is drawn with an equal generator.
    """
    order = rng.permutation(np.unique(dataset.clusters[rows]))
    place = np.empty(order.max() + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    drawn = []
    for one_class in _split_classes(dataset, rows):
        present = np.sort(place[np.unique(dataset.clusters[one_class])])
        is_drawn = place[dataset.clusters[one_class]] <= present[size - 1]
        drawn.append(one_class[is_drawn])
    parents, children = drawn
    return np.sort(np.concatenate([parents, draw_one_per_cluster(children, dataset.clusters, rng)]))


def count_curve_images(dataset: Dataset, draws: int) -> int:
    """Return how many real images a learning curve trains on in total, for estimates of its cost."""
    rows = np.flatnonzero(dataset.column("split") == "train")
    return draws * sum(list_sizes(_count_drawable_clusters(dataset, rows)))


def plot_learning_curves(curves: Mapping[str, LearningCurve], draws: int) -> Iterator[Plot]:
    """Yield the plot of the learning curves, by backbone."""
    yield Plot(
        title="AUROC over the number of clusters trained on",
        x_label="clusters trained on",
        y_label="AUROC on the test split",
        x_log=True,
        share=True,
        chance=0.5,
        curves=tuple(make_curve(name, curve.sizes, curve.estimates) for name, curve in curves.items()),
        note=f"Each probe is trained on as many real images as clusters, with one random child by any generator to "
        f"each, and tested on all children. A point is the mean of {draws} random draws of clusters; its interval "
        "covers other draws as well as other test clusters. C is chosen on the whole validation split. A curve that "
        "still rises at its end says that more images would help.",
    )


def _split_classes(dataset: Dataset, rows: Rows) -> tuple[Rows, Rows]:
    """Return the parents and the children among some rows."""
    return rows[dataset.labels[rows] == 0], rows[dataset.labels[rows] == 1]


def _count_drawable_clusters(dataset: Dataset, rows: Rows) -> int:
    """Return the number of clusters with a real image, or that with a child, whichever is smaller."""
    return min(len(np.unique(dataset.clusters[one_class])) for one_class in _split_classes(dataset, rows))
