"""How well a linear probe on frozen features labels images real or fake, by generator and across generators.

The probe is a logistic regression on the train split, with one random child per cluster; its C is chosen on the
validation split, on children by the generator that it is trained on. Overall and full-cluster accuracy stand beside
balanced accuracy and AUROC. If two generators have enough clusters, a second table crosses the generator trained on
with the generator tested on. With several backbones, a table of paired differences compares each two of them on the
same test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context, Cost, Experiment, Machine, estimate_memory
from changeling.experiments.linear_probe import ProbeSettings, check_probe, check_train_on, estimate_fit_seconds
from changeling.experiments.paper import TRAINING_GENERATOR, add_paper_values
from changeling.experiments.probe_differences import ScoredTestSplit, build_backbone_differences, score_test_images
from changeling.experiments.probe_evaluation import COLUMNS, evaluate_probes, fit_probes
from changeling.experiments.reporting import (
    describe_dataset,
    describe_seeds,
    describe_source,
    find_common_chance,
    join_over_seeds,
    list_versions,
    note_leakage,
    select_best_row,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import (
    SPLIT_TITLES,
    select_all,
)
from changeling.experiments.transfer import build_transfer_table, evaluate_transfer, list_training_generators
from changeling.results.format import format_count, format_interval, format_label, format_percent
from changeling.results.result import Column, Result, Row, Table

_PAPER_SETTINGS = ProbeSettings(train_on=TRAINING_GENERATOR)  # the paper does not give C
_TUNING = "the lowest class-balanced log loss on the validation split, on children of the same generator"


def run(context: Context, settings: ProbeSettings) -> Result:
    """Train on the train split, choose C on the validation split, evaluate on both (sections 3.3 and 4.2).

    Raises:
        DatasetError: a split lacks real or fake images, or the generator to train on has no children in it.
        FeatureError: a backbone's features are missing, or were extracted from other images.
    """
    dataset, sources = context.dataset, []
    rows: list[Row] = []
    transfer_rows: list[Row] = []
    test_scores: dict[str, ScoredTestSplit] = {}
    fitted: dict[str, str | int | float | bool | None] = {}
    unconverged: list[str] = []
    valid = np.zeros(len(dataset), dtype=np.bool_)
    for done, features in enumerate(context.load_features(), start=1):
        name = features.header.backbone
        probes = fit_probes(context, features, settings)
        rows += evaluate_probes(dataset, features, probes, {})
        transfer_rows += evaluate_transfer(context, features, settings, probes)
        test_scores[name] = score_test_images(dataset, features, probes)
        fitted |= {
            f"C of {name}": join_over_seeds([probe.c for probe in probes]),
            f"training images of {name}": probes[0].training_images,
        }
        is_converged = all(probe.is_converged for probe in probes)
        unconverged += [] if is_converged else [f"The probe on {name} features did not converge."]
        sources.append(describe_source(features))
        valid |= features.valid
        context.progress("probe", done, len(context.backbones))
    table = _build_table(sort_by_generator(dataset, rows))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=summarise_by_generator(dataset, table.rows, _summarise),
        settings=_describe_settings(settings, context) | fitted,
        tables=(
            add_paper_values(table, context, settings, _PAPER_SETTINGS),
            *build_transfer_table(dataset, transfer_rows),
            *build_backbone_differences(dataset, test_scores),
        ),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(*note_leakage(dataset), *_note_unpaired(dataset, valid), *unconverged),
    )


def check(context: Context, settings: ProbeSettings) -> None:
    """Check that a probe can be fitted if all images have features.

    Raises:
        DatasetError: a split lacks real or fake images, or the generator to train on has no children in it.
        StudyError: no image of the dataset is by the generator to train on.
    """
    check_train_on(context.dataset, EXPERIMENT.name, settings.train_on)
    check_probe(context.dataset, select_all(context.dataset), settings, context.seed)


def cost(context: Context, settings: ProbeSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dataset, dims = context.dataset, machine.get_dims(context)
    probes = context.seeds * (1 + len(list_training_generators(dataset)))
    seconds = sum(probes * estimate_fit_seconds(dataset, dim, machine.speed) for dim in dims)
    seconds += len(dims) * 5e-5 * int((dataset.column("split") != "train").sum())
    return Cost(1 + seconds, estimate_memory(dataset, max(dims)))


def _describe_settings(settings: ProbeSettings, context: Context) -> dict[str, str | int | float | bool | None]:
    return {
        "trained on children of": format_label(settings.train_on),
        "children for training": {"one": "one random child per cluster", "all": "all"}[settings.children],
        "features": "standardised: mean 0 and standard deviation 1 in each dimension, on the training images"
        if settings.standardise
        else "centred on the training images, not standardised",
        "class weight": "balanced: real and fake images have the same total weight",
        "C (the larger, the less regularised) chosen by": _TUNING if settings.C == "tuned" else "the study file",
        "seed": describe_seeds(context.seed, context.seeds),
    }


def _build_table(rows: Sequence[Row]) -> Table:
    columns = [
        Column(key=f"{split}_{key}", label=label, group=title, chance=find_common_chance(rows, f"{split}_{key}"))
        for split, title in SPLIT_TITLES.items()
        for key, label in COLUMNS.items()
    ]
    return Table(
        key="probe",
        title="Accuracy of a linear probe",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="Full cluster: share of clusters in which every image is labelled correctly. Balanced: mean of the "
        "accuracies on real and on fake images. AUROC: probability that a fake image scores higher than a real one. "
        "Labelling every image fake has an overall accuracy equal to the share of fake images.",
    )


def _note_unpaired(dataset: Dataset, valid: NDArray[np.bool_]) -> Iterator[str]:
    """Yield a note for each split in which some clusters are a single image."""
    for split, title in SPLIT_TITLES.items():
        mask = (dataset.column("split") == split) & valid
        clusters, sizes = np.unique(dataset.clusters[mask], return_counts=True)
        if (sizes == 1).any():
            has_parent, has_child = (
                np.isin(clusters, dataset.clusters[mask & (dataset.labels == label)]) for label in (0, 1)
            )
            yield (
                f"Of the {format_count(len(clusters), 'cluster', 'clusters')} of the {title.lower()} split, "
                f"{int((has_parent & has_child).sum()):,} have a parent and a child. An image without a counterpart "
                "is counted as a cluster of its own."
            )


def _summarise(rows: Sequence[Row]) -> str:
    best = select_best_row(rows, "auroc")
    if best is None:
        return "The test split lacks real or fake images, so the probe cannot be evaluated."
    row, features = best
    auroc, balanced = row.cells["test_auroc"], row.cells["test_balanced"]
    return (
        f"A linear probe on {features} has an AUROC of {format_percent(auroc.value)} on "
        f"{format_count(auroc.images, 'test image', 'test images')} (95 % interval "
        f"{format_interval(auroc)}) and a balanced accuracy of {format_percent(balanced.value)} "
        f"({format_interval(balanced)}); chance is 50 %."
    )


EXPERIMENT = Experiment(
    name="probe",
    title="Can a linear probe tell real images from fake ones?",
    paper="Table 2",
    settings=ProbeSettings,
    check=check,
    run=run,
    cost=cost,
)
