"""Training of S and T, and what is measured in each space: accuracies of a linear probe, and distance accuracies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context
from changeling.experiments.distances import compute_chance
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe
from changeling.experiments.probe_curve import format_labels
from changeling.experiments.projections import Projection, ProjectionSettings, train_projection
from changeling.experiments.reporting import find_common_chance, make_estimate
from changeling.experiments.selection import SPLIT_TITLES, has_both_classes, renumber_clusters, select_rows
from changeling.features.store import Features
from changeling.results.format import format_count, format_label
from changeling.results.result import Column, Estimate, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import ratio_interval

RAW = "raw"  # the space of the features themselves, beside their projections S and T
_MEASURES = {"overall": "Overall", "full": "Full cluster", "min": "Min distance", "max": "Max distance"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """S and T of one backbone and generator to train on, and what was measured on them.

    Attributes:
        labels: the generator that they are trained on, and the backbone.
        projections: "S" and "T".
        probes: by space: "raw", "S" or "T".
        rows: of the table, for each generator to evaluate on and each space.
    """

    labels: dict[str, str]
    projections: dict[str, Projection]
    probes: dict[str, LinearProbe]
    rows: list[Row]


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
    dataset, trained_on = context.dataset, probe_settings.train_on
    projections = {
        "S": train_projection(context, features, trained_on, "S", settings),
        "T": train_projection(context, features, trained_on, "T", settings),
    }
    probes: dict[str, LinearProbe] = {}
    cells: dict[tuple[str, str], dict[str, Estimate]] = {}  # by generator and space
    for space, projected in _project(features, projections):
        probes[space] = fit_probe(dataset, projected, probe_settings, seed=context.seed)
        for generator in tested_on:
            cells[generator, space] = _compute_cells(dataset, projected, probes[space], generator)
    labels = {"Generator": trained_on, "Backbone": features.header.backbone}
    rows = [
        Row(
            labels=labels | {"Generator": generator, "Features": _mark_unconverged(space, probe, projections)},
            cells=cells[generator, space],
        )
        for generator in tested_on
        for space, probe in probes.items()
        if cells[generator, space]
    ]
    return Evaluation(labels, projections, probes, rows)


def _project(features: Features, projections: dict[str, Projection]) -> Iterator[tuple[str, Features]]:
    """Yield the name of each space and the features in it: raw, and projected by S and by T, one at a time."""
    yield RAW, features
    for name, projection in projections.items():
        yield name, replace(features, values=projection.project(features.values))


def _mark_unconverged(space: str, probe: LinearProbe, projections: dict[str, Projection]) -> str:
    """Return the name of a space, marked if its numbers are not to be interpreted."""
    is_converged = probe.is_converged and (space == RAW or projections[space].is_converged)
    return space if is_converged else f"{space} (not converged)"


def _compute_cells(dataset: Dataset, features: Features, probe: LinearProbe, generator: str) -> dict[str, Estimate]:
    """Return the estimates on a generator's images, in the space of the probe (section 4.2).

    A split without real or fake images has none, and one without a cluster of two children has no distances.
    """
    cells: dict[str, Estimate] = {}
    for split in SPLIT_TITLES:
        rows = select_rows(dataset, features.valid, generator, split)
        labels, clusters = dataset.labels[rows], renumber_clusters(dataset.clusters[rows])
        if not has_both_classes(labels):
            continue
        values = features.values[rows]
        predicted = (probe.predict_scores(values) > 0).astype(np.int64)
        ratios = {
            "overall": metrics.overall_accuracy(labels, predicted, clusters),
            "full": metrics.full_cluster_accuracy(labels, predicted, clusters),
        }
        chances = {"overall": float(labels.mean())}  # of "always fake"
        for key, ratio in zip(("min", "max"), metrics.distance_accuracies(values, labels, clusters), strict=True):
            if ratio.denominator.any():
                ratios[key], chances[key] = ratio, compute_chance(clusters, ratio)
        for key, ratio in ratios.items():
            cells[f"{split}_{key}"] = make_estimate(ratio_interval(ratio), chances.get(key))
    return cells


def note_unconverged(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield a note for each projection and each probe that has not converged."""
    for evaluation in evaluations:
        for kind, projection in evaluation.projections.items():
            if not projection.is_converged:
                described = describe_unconverged(kind, evaluation.labels, projection)
                yield f"{described}; raise disentangle.min_steps."
        for space, probe in evaluation.probes.items():
            if not probe.is_converged:
                name = format_label(format_labels(evaluation.labels))
                yield f"The linear probe on {space} of {name} did not converge; its numbers are not to be interpreted."


def describe_unconverged(kind: str, labels: dict[str, str], projection: Projection) -> str:
    """Return a clause that says after how many steps, and at which loss, a projection had not converged."""
    return (
        f"{kind} of {format_label(format_labels(labels))} had not converged after "
        f"{format_count(len(projection.losses), 'step', 'steps')} (loss {projection.loss:.2f}, bound "
        f"{projection.bound:.2f}), and its numbers are not to be interpreted"
    )


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
