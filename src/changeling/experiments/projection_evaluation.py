"""Training of S and T, and what is measured in each space: accuracies of a linear probe, and distance accuracies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context
from changeling.experiments.distances import compute_chance
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe
from changeling.experiments.probe_curve import format_labels
from changeling.experiments.projections import Projection, ProjectionSettings, train_projection
from changeling.experiments.reporting import find_common_chance, make_estimate_over_seeds
from changeling.experiments.selection import SPLIT_TITLES, has_both_classes, renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.format import format_count, format_label
from changeling.results.result import Column, Estimate, Row, Table
from changeling.stats import metrics
from changeling.stats.cluster_statistics import combine_seeds
from changeling.stats.intervals import Interval, difference_interval
from changeling.stats.metrics import Ratio

RAW = "raw"  # the space of the features themselves, beside their projections S and T
_MEASURES = {"overall": "Overall", "full": "Full cluster", "min": "Min distance", "max": "Max distance"}


@dataclass(frozen=True, slots=True)
class Run:
    """What was trained with one seed: "S" and "T", and a linear probe in each space, "raw", "S" and "T"."""

    projections: dict[str, Projection]
    probes: dict[str, LinearProbe]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """S and T of one backbone and generator to train on, and what was measured on them.

    Attributes:
        labels: the generator that they are trained on, and the backbone.
        runs: one a seed.
        rows: of the table, for each generator to evaluate on and each space.
        changes: by generator and column, of S and T compared with raw features: ("g0", "S", "test_overall").
    """

    labels: dict[str, str]
    runs: list[Run]
    rows: list[Row]
    changes: dict[tuple[str, str, str], Interval]


def train_and_evaluate(
    context: Context,
    features: Features,
    tested_on: Sequence[str],
    settings: ProjectionSettings,
    probe_settings: ProbeSettings,
) -> Evaluation:
    """Train S and T on the generator of `probe_settings`, and evaluate them on the generators of `tested_on`.

    Raises:
        DatasetError: a split lacks a class that a probe needs.
        StudyError: training diverges with these settings.
    """
    labels = {"Generator": probe_settings.train_on, "Backbone": features.header.backbone}
    measurements = _Measurements()
    runs = [
        _train_and_measure(seeded, features, tested_on, settings, probe_settings, measurements)
        for seeded in context.list_runs()
    ]
    rows = [
        Row(labels=labels | {"Generator": generator, "Features": _mark_unconverged(space, runs)}, cells=cells)
        for generator in tested_on
        for space in (RAW, "S", "T")
        if (cells := measurements.make_cells(generator, space))
    ]
    return Evaluation(labels, runs, rows, measurements.compare_with_raw())


class _Measurements:
    """Metrics by generator, space and column, each of every seed, and their levels of chance."""

    def __init__(self) -> None:
        self.ratios: dict[tuple[str, str, str], list[Ratio]] = defaultdict(list)
        self.chances: dict[tuple[str, str, str], float] = {}

    def make_cells(self, generator: str, space: str) -> dict[str, Estimate]:
        """Return the cells of a row of the table."""
        return {
            key[2]: make_estimate_over_seeds(ratios, self.chances.get(key))
            for key, ratios in self.ratios.items()
            if key[:2] == (generator, space)
        }

    def compare_with_raw(self) -> dict[tuple[str, str, str], Interval]:
        """Return how much each metric in S and T is larger than on raw features, in pairs of the same images."""
        return {
            key: difference_interval(combine_seeds(ratios), combine_seeds(self.ratios[key[0], RAW, key[2]]))
            for key, ratios in self.ratios.items()
            if key[1] != RAW
        }


def _train_and_measure(
    context: Context,
    features: Features,
    tested_on: Sequence[str],
    settings: ProjectionSettings,
    probe_settings: ProbeSettings,
    measurements: _Measurements,
) -> Run:
    """Train S, T and the probes with the seed of a context, and append what is measured to `measurements`."""
    dataset, trained_on = context.dataset, probe_settings.train_on
    projections = {
        "S": train_projection(context, features, trained_on, "S", settings),
        "T": train_projection(context, features, trained_on, "T", settings),
    }
    probes: dict[str, LinearProbe] = {}
    for space, projected in _project(features, projections):
        probes[space] = fit_probe(dataset, projected, probe_settings, seed=context.seed)
        for generator in tested_on:
            for split in SPLIT_TITLES:
                rows = select_rows(dataset, features.valid, generator, split)
                for name, (ratio, chance) in _measure(dataset, projected, probes[space], rows).items():
                    key = (generator, space, f"{split}_{name}")
                    measurements.ratios[key].append(ratio)
                    if chance is not None:
                        measurements.chances[key] = chance
    return Run(projections, probes)


def _project(features: Features, projections: dict[str, Projection]) -> Iterator[tuple[str, Features]]:
    """Yield the name of each space and the features in it: raw, and projected by S and by T, one at a time."""
    yield RAW, features
    for name, projection in projections.items():
        yield name, replace(features, values=projection.project(features.values))


def _mark_unconverged(space: str, runs: Sequence[Run]) -> str:
    """Return the name of a space, marked if its numbers are not to be interpreted."""
    is_converged = all(
        run.probes[space].is_converged and (space == RAW or run.projections[space].is_converged) for run in runs
    )
    return space if is_converged else f"{space} (not converged)"


def _measure(
    dataset: Dataset, features: Features, probe: LinearProbe, rows: NDArray[np.int64]
) -> dict[str, tuple[Ratio, float | None]]:
    """Return the metrics on some rows in the space of the probe, each with its level of chance (section 4.2).

    There are none without real or fake images, and no distances without a cluster of two children.
    """
    labels, clusters = dataset.labels[rows], renumber_clusters(dataset.clusters[rows])
    if not has_both_classes(labels):
        return {}
    values = features.values[rows]
    predicted = (probe.predict_scores(values) > 0).astype(np.int64)
    measured: dict[str, tuple[Ratio, float | None]] = {
        "overall": (metrics.overall_accuracy(labels, predicted, clusters), float(labels.mean())),  # "always fake"
        "full": (metrics.full_cluster_accuracy(labels, predicted, clusters), None),
    }
    for name, ratio in zip(("min", "max"), metrics.distance_accuracies(values, labels, clusters), strict=True):
        if ratio.denominator.any():
            measured[name] = ratio, compute_chance(clusters, ratio)
    return measured


def list_unconverged(evaluation: Evaluation) -> Iterator[str]:
    """Yield a sentence for each projection and each probe whose training has not converged."""
    name = format_label(format_labels(evaluation.labels))
    for run in evaluation.runs:
        for kind, projection in run.projections.items():
            if not projection.is_converged:
                yield (
                    f"{kind} of {name} had not converged after "
                    f"{format_count(len(projection.losses), 'step', 'steps')} (loss {projection.loss:.2f}, bound "
                    f"{projection.bound:.2f}), and its numbers are not to be interpreted; raise disentangle.min_steps."
                )
        for space, probe in run.probes.items():
            if not probe.is_converged:
                yield f"The linear probe on {space} of {name} did not converge; its numbers are not to be interpreted."


def build_table(rows: Sequence[Row], note: str) -> Table:
    """Return Table 4, with a row for each space; `note` is added to the note below it."""
    columns = [
        Column(
            key=f"{split}_{key}",
            label=label,
            group=title,
            chance=find_common_chance(rows, f"{split}_{key}"),
            better="none",
        )
        for split, title in SPLIT_TITLES.items()
        for key, label in _MEASURES.items()
    ]
    return Table(
        key="disentangle",
        title="Probe accuracy and distance accuracy: raw features, S and T",
        labels=("Generator", "Backbone", "Features"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="Raw: the features themselves; S and T: their projections. The paper has the accuracies on S and the "
        "distances in T. Overall and full cluster: share of images, and of clusters with all images, that a linear "
        "probe labels correctly; labelling every image fake has an overall accuracy equal to the share of fake images. "
        "Min and max distance: share of clusters in which the parent has the smallest or largest mean distance to the "
        f"other images. {note}",
    )
