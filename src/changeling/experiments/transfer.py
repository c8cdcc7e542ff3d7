"""Probes that are trained on one generator and tested on another: the second table of the experiment `probe`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings
from changeling.experiments.probe_evaluation import COLUMNS, evaluate_probes, fit_probes
from changeling.experiments.reporting import find_common_chance, sort_by_generator
from changeling.experiments.selection import list_generators
from changeling.features.store import Features
from changeling.results.format import ALL_LABEL
from changeling.results.result import Column, Row, Table

MIN_TRAIN_CLUSTERS = 50  # a generator with fewer in the train split gets no probe of its own


def list_training_generators(dataset: Dataset) -> list[str]:
    """Return the generators with enough clusters to train a probe on, and children to choose C on.

    None if there are fewer than two.
    """
    train, val = ((dataset.column("split") == split) & (dataset.labels == 1) for split in ("train", "val"))
    names, clusters = dataset.column("generator"), dataset.clusters
    large_enough = []
    for name in list_generators(dataset):
        is_by_generator = (names == name) | (name == ALL_LABEL)
        if len(set(clusters[train & is_by_generator])) >= MIN_TRAIN_CLUSTERS and (val & is_by_generator).any():
            large_enough.append(name)
    return large_enough if len(set(large_enough) - {ALL_LABEL}) > 1 else []


def evaluate_transfer(
    context: Context, features: Features, settings: ProbeSettings, fitted: Sequence[LinearProbe]
) -> Iterator[Row]:
    """Yield the rows of the probes of each generator to train on; `fitted` are those of `settings`."""
    for generator in list_training_generators(context.dataset):
        probes = fitted
        if generator != settings.train_on:
            probes = fit_probes(context, features, settings.model_copy(update={"train_on": generator}))
        yield from evaluate_probes(context.dataset, features, probes, {"Trained on": generator})


def build_transfer_table(dataset: Dataset, rows: Sequence[Row]) -> list[Table]:
    """Return the table of generators trained on by generators tested on, on the test split; none without rows."""
    if not rows:
        return []
    by_generator = [row for row in sort_by_generator(dataset, rows) if row.labels["Generator"] != ALL_LABEL]
    ordered = sorted(by_generator, key=lambda row: row.labels["Trained on"])
    columns = [
        Column(key=f"test_{key}", label=label, group="Test", chance=find_common_chance(ordered, f"test_{key}"))
        for key, label in COLUMNS.items()
    ]
    return [
        Table(
            key="transfer",
            title="Trained on one generator, tested on another",
            labels=("Trained on", "Generator", "Backbone"),
            columns=tuple(columns),
            rows=tuple(ordered),
            note="Each probe is trained on the real images of the train split and the children of one generator. "
            "Unless the study file gives C, it is chosen on the real images of the validation split and the children "
            "of the same generator, so that a probe has seen nothing of the generators that it is tested on.",
        )
    ]
