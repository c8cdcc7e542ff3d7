"""Probes that are trained on the children of some generators and tested on those of others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import Split
from changeling.errors import DatasetError
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe_on_rows
from changeling.experiments.selection import MIN_CLUSTERS, draw_one_per_cluster, has_both_classes
from changeling.features.store import Features
from changeling.stats import metrics
from changeling.stats.cluster_statistics import ClusterStatistic, auroc_statistic
from changeling.stats.intervals import Interval, combination_interval, mean_interval

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a probe tells the children of some generators from the real images, on the test split.

    Attributes:
        auroc: its influences (C,) are over all clusters of the test split, so that any two can be compared.
        balanced: the balanced accuracy.
        rows: of the dataset that both rest on.
    """

    auroc: ClusterStatistic
    balanced: Interval
    rows: Rows


class GeneratorProbes:
    """Trains and tests probes on the features of one backbone. A probe is trained once for each set of generators.

    Attributes:
        unconverged: the generators of each probe whose training did not converge.
    """

    def __init__(self, dataset: Dataset, features: Features, settings: ProbeSettings, seed: int) -> None:
        self.unconverged: set[frozenset[str]] = set()
        self._dataset, self._features, self._settings, self._seed = dataset, features, settings, seed
        self._names = dataset.column("generator").astype(str)
        self._probes: dict[frozenset[str], LinearProbe] = {}
        self._test_clusters = np.unique(dataset.clusters[features.valid & (dataset.column("split") == "test")])

    def train(self, generators: Collection[str]) -> LinearProbe:
        """Return the probe for some generators: trained, and C chosen, on their children and all real images.

        Raises:
            DatasetError: the train split lacks their children or real images; or the validation split, and C is
                tuned.
        """
        key = frozenset(generators)
        if key not in self._probes:
            self._probes[key] = self.fit(self.select_training_rows(generators), generators)
        return self._probes[key]

    def fit(self, train: Rows, generators: Collection[str]) -> LinearProbe:
        """Fit a probe on given rows; C is chosen on the real images of the validation split and on these generators'.

        Raises DatasetError as `train` does.
        """
        settings = self._settings
        val = self.select_rows("val", generators) if settings.C == "tuned" else train
        for split, rows in (("train", train), ("val", val)):
            if not has_both_classes(self._dataset.labels[rows]):
                names = ", ".join(sorted(generators))
                raise DatasetError(f"{self._dataset.path}: the {split} split needs real images and children by {names}")
        c = None if settings.C == "tuned" else settings.C
        values, labels = self._features.values, self._dataset.labels
        probe = fit_probe_on_rows(values, labels, train, val, c=c, standardise=settings.standardise)
        if not probe.is_converged:
            self.unconverged.add(frozenset(generators))
        return probe

    def select_training_rows(self, generators: Collection[str]) -> Rows:
        """Return the rows to train on: real images, and one random child per cluster or all, as the settings say."""
        rows = self.select_rows("train", generators)
        is_child = self._dataset.labels[rows] == 1
        children = rows[is_child]
        if self._settings.children == "one":
            children = draw_one_per_cluster(children, self._dataset.clusters, np.random.default_rng(self._seed))
        return np.sort(np.concatenate([rows[~is_child], children]))

    def select_rows(self, split: Split, generators: Collection[str]) -> Rows:
        """Return the rows of a split that have a feature: all real images, and the children by some generators."""
        dataset = self._dataset
        is_selected = (dataset.labels == 0) | np.isin(self._names, list(generators))
        return np.flatnonzero(is_selected & self._features.valid & (dataset.column("split") == split))

    def evaluate(self, probe: LinearProbe, generators: Collection[str]) -> Score:
        """Return how well a probe tells the children of some generators from all real images of the test split.

        Raises:
            DatasetError: the test split lacks real images or children by these generators that have a feature.
        """
        rows = self.select_rows("test", generators)
        labels, scores = self._dataset.labels[rows], probe.predict_scores(self._features.values[rows])
        if not has_both_classes(labels):
            names = ", ".join(sorted(generators))
            raise DatasetError(f"{self._dataset.path}: the test split needs real images and children by {names}")
        clusters = np.searchsorted(self._test_clusters, self._dataset.clusters[rows])
        auroc = auroc_statistic(labels, scores, clusters)
        found = np.unique(clusters)
        influence, is_counted = np.zeros(len(self._test_clusters)), np.zeros(len(self._test_clusters), bool)
        influence[found], is_counted[found] = auroc.influence, auroc.is_counted
        predicted = (scores > 0).astype(np.int64)
        recalls = [metrics.recall(labels, predicted, clusters, label) for label in (0, 1)]
        return Score(replace(auroc, influence=influence, is_counted=is_counted), mean_interval(*recalls), rows)

    def validate(self, probe: LinearProbe, generators: Collection[str]) -> float:
        """Return the AUROC of a probe on the validation split; NaN if it lacks a class."""
        rows = self.select_rows("val", generators)
        return metrics.auroc(self._dataset.labels[rows], probe.predict_scores(self._features.values[rows]))


def list_generator_names(dataset: Dataset) -> list[str]:
    """Return the generators of all children of a dataset, sorted."""
    return sorted(set(dataset.column("generator")[dataset.labels == 1]))


def count_training_clusters(dataset: Dataset, generators: Collection[str]) -> int:
    """Return how many clusters of the train split have a readable child by some generators."""
    return len(np.unique(dataset.clusters[_find_children(dataset, "train", generators)]))


def has_validation_children(dataset: Dataset, generators: Collection[str]) -> bool:
    """Return whether the validation split has a readable child by some generators."""
    return bool(_find_children(dataset, "val", generators).any())


def list_large_generators(dataset: Dataset, min_clusters: int, settings: ProbeSettings) -> list[str]:
    """Return the generators that a probe can be trained and tested on, those with the most training clusters first.

    They have at least `min_clusters` clusters in the train split and `MIN_CLUSTERS` in the test split; and a child in
    the validation split, if C is tuned.
    """
    sizes = {name: count_training_clusters(dataset, [name]) for name in list_generator_names(dataset)}
    large = [
        name
        for name, size in sizes.items()
        if size >= min_clusters
        and len(np.unique(dataset.clusters[_find_children(dataset, "test", [name])])) >= MIN_CLUSTERS
        and (settings.C != "tuned" or has_validation_children(dataset, [name]))
    ]
    return sorted(large, key=lambda name: (-sizes[name], name))


def _find_children(dataset: Dataset, split: Split, generators: Collection[str]) -> NDArray[np.bool_]:
    """Return a mask (N,) of the readable children of a split by some generators."""
    is_by_generator = np.isin(dataset.column("generator").astype(str), list(generators)) & (dataset.labels == 1)
    is_found: NDArray[np.bool_] = (
        is_by_generator & (dataset.column("split") == split) & (dataset.column("status") == "ok")
    )
    return is_found


def compare_means(first: Sequence[Score], second: Sequence[Score] = ()) -> Interval:
    """Return the mean AUROC of some scores, minus that of others if there are any, and the images of all of them."""
    scores = (*first, *second)
    weights = [1 / len(first) for _ in first] + [-1 / len(second) for _ in second]
    interval = combination_interval([score.auroc for score in scores], weights)
    return replace(interval, images=len(np.unique(np.concatenate([score.rows for score in scores]))))
