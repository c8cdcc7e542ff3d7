"""Projections S and T of features: S is trained to remove what tells real from fake, T to amplify it.

Table 4 shows the accuracy of a linear probe on S, and distance accuracy in T. Beside it stand a curve over the probe's
C, a non-linear probe and the singular values of S: they show what S removes and what it only rescales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from pydantic import Field

from changeling.experiments.base import MIB, Context, Cost, Experiment, Machine, estimate_memory
from changeling.experiments.distances import compute_chance
from changeling.experiments.linear_probe import ProbeSettings, fit_probe
from changeling.experiments.paper import add_paper_values
from changeling.experiments.probe_curve import (
    ProbeCurve,
    build_curve_table,
    estimate_curve_seconds,
    evaluate_probe_curve,
    format_labels,
    plot_curves,
)
from changeling.experiments.projections import (
    Projection,
    ProjectionSettings,
    list_trainable_generators,
    train_projection,
)
from changeling.experiments.reporting import (
    describe_dataset,
    describe_source,
    find_common_chance,
    list_versions,
    make_estimate,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import (
    SPLIT_TITLES,
    has_both_classes,
    renumber_clusters,
    select_all,
    select_rows,
)
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_label, format_percent
from changeling.results.result import Column, Curve, Estimate, Plot, Result, Row, Table
from changeling.stats import metrics
from changeling.stats.intervals import ratio_interval

_MEASURES = {  # by projection: key, label
    "S": {"s_overall": "Overall", "s_full": "Full cluster"},
    "T": {"t_min": "Min distance", "t_max": "Max distance"},
}
_DRAWN_LOSSES = 200  # points of a curve
_NOTES = (
    "The two terms of Eq. 4 have the same denominator for each anchor, so it cancels: the temperature and the way in "
    "which the sum is averaged only scale the loss, and AdamW is invariant to the scale of the loss. Weight decay is "
    "not a scale.",
    "S is a square linear map. Unless it is singular, a probe with little regularisation can invert it. The curve over "
    "C separates what S removes (low accuracy at every C) from what it only rescales (low accuracy at small C).",
)


class DisentangleSettings(ProjectionSettings):
    """Settings of Table 4. The paper does not give temperature, weight_decay and C."""

    C: float = Field(default=1.0, gt=0, description="of the probe on S; scikit-learn's default")
    curve: bool = Field(default=True, description="also run the curve over C and the non-linear probe")


@dataclass(frozen=True, slots=True)
class _Projections:
    """S and T of one generator and backbone, and what was measured on them."""

    labels: dict[str, str]
    s: Projection
    t: Projection
    cells: dict[str, Estimate]
    curve: ProbeCurve | None


def run(context: Context, settings: DisentangleSettings) -> Result:
    """Train S and T for each generator and backbone; fit a probe on S, measure distances in T (sections 3.4, 4.2).

    Raises:
        DatasetError: the train split has no two clusters with a parent and a child, or a split lacks a class.
        FeatureError: a backbone's features are missing, or were extracted from other images.
        StudyError: training diverges with these settings.
    """
    dataset, sources = context.dataset, []
    trained: list[_Projections] = []
    for features in context.load_features():
        for generator in list_trainable_generators(dataset, features.valid):
            pair = _train_and_evaluate(context, features, generator, settings)
            trained.append(pair)
        sources.append(describe_source(features))
    rows = [Row(labels=pair.labels, cells=pair.cells) for pair in trained if pair.cells]
    table = _build_table(sort_by_generator(dataset, rows))
    curves = [pair.curve for pair in trained if pair.curve]
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=summarise_by_generator(dataset, table.rows, partial(_summarise, trained=trained)),
        settings=_describe_settings(settings, context.seed, trained),
        tables=(
            add_paper_values(table, context, settings, DisentangleSettings(curve=settings.curve)),
            *build_curve_table(curves),
        ),
        plots=(*plot_curves(curves), *_plot_training(trained)),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(*_NOTES, *_note_training(trained)),
    )


def check(context: Context, settings: DisentangleSettings) -> None:
    """Raise DatasetError if there is nothing to train S and T on even if all images have features."""
    list_trainable_generators(context.dataset, select_all(context.dataset))


def cost(context: Context, settings: DisentangleSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dataset, dims = context.dataset, machine.get_dims(context)
    pairs = len(list_trainable_generators(dataset, select_all(dataset)))  # of S and T
    images = int((dataset.column("split") == "train").sum())
    seconds = sum(pairs * _estimate_seconds(settings, images, dim, machine.speed) for dim in dims)
    checkpoints = sum(6 * pairs * dim**2 * 4 for dim in dims)
    return Cost(1 + seconds, estimate_memory(dataset, max(dims), copies=2), checkpoints + MIB)


def _estimate_seconds(settings: DisentangleSettings, images: int, dim: int, speed: float) -> float:
    """Return how long S and T of one generator and backbone take."""
    steps = max(settings.epochs * max(images / settings.batch, 1), settings.min_steps)
    training = 2 * steps * (9 * settings.batch * dim * dim / speed + 3e-3)
    curve = estimate_curve_seconds(images, dim, speed) if settings.curve else 0
    return training + curve + 3


def _train_and_evaluate(
    context: Context, features: Features, generator: str, settings: DisentangleSettings
) -> _Projections:
    labels = {"Generator": generator, "Backbone": features.header.backbone}
    s = train_projection(context, features, generator, "S", settings)
    t = train_projection(context, features, generator, "T", settings)
    s_features = replace(features, values=s.project(features.values))
    cells = _compute_cells(context, features, s_features, t, generator, settings.C)
    curve = None
    if settings.curve and "test_s_overall" in cells:
        curve = evaluate_probe_curve(context, {"raw features": features, "S": s_features}, labels)
    return _Projections(labels, s, t, cells, curve)


def _compute_cells(
    context: Context, features: Features, s_features: Features, t: Projection, generator: str, c: float
) -> dict[str, Estimate]:
    """Return the accuracies of a probe on `s_features`, the projections by S, and distance accuracies in T."""
    dataset, cells = context.dataset, {}
    settings = ProbeSettings(C=c, train_on=generator)
    probe = fit_probe(dataset, s_features, settings, seed=context.seed, standardise=False)
    for split in SPLIT_TITLES:
        rows = select_rows(dataset, features.valid, generator, split)
        labels, clusters = dataset.labels[rows], renumber_clusters(dataset.clusters[rows])
        if not has_both_classes(labels):
            continue
        predicted = (probe.predict_scores(s_features.values[rows]) > 0).astype(np.int64)
        smallest, largest = metrics.distance_accuracies(t.project(features.values[rows]), labels, clusters)
        ratios = {
            "s_overall": metrics.overall_accuracy(labels, predicted, clusters),
            "s_full": metrics.full_cluster_accuracy(labels, predicted, clusters),
            "t_min": smallest,
            "t_max": largest,
        }
        fake_shares = {"s_overall": float(labels.mean())}
        for key, ratio in ratios.items():
            if ratio.denominator.any():
                chance = compute_chance(clusters, ratio) if key.startswith("t_") else fake_shares.get(key)
                cells[f"{split}_{key}"] = make_estimate(ratio_interval(ratio), chance)
    return cells


def _describe_settings(
    settings: DisentangleSettings, seed: int, trained: Sequence[_Projections]
) -> dict[str, str | int | float | bool | None]:
    description: dict[str, str | int | float | bool | None] = {
        "S and T": "square linear maps without bias, initialised uniformly in ±1/√D; outputs L2-normalised",
        "optimiser": "AdamW, betas 0.9 and 0.999",
        "learning rate": settings.lr,
        "weight decay": settings.weight_decay,
        "epochs": f"{settings.epochs:,}, but at least {format_count(settings.min_steps, 'step', 'steps')}",
        "images in a batch, of whole clusters": settings.batch,
        "temperature": settings.temperature,
        "the loss of a batch": "the mean over its images (anchors, in Eq. 5)",
        "trained on": "each generator's clusters of the train split",
        "probe on S": f"logistic regression, C = {settings.C:g}, features not standardised",
        "seed": seed,
    }
    for pair in trained:
        name = format_label(format_labels(pair.labels))
        description[f"clusters that S and T of {name} were trained on"] = pair.s.clusters
        description[f"steps of the training of S and T of {name}"] = len(pair.s.losses)
        for kind, projection in {"S": pair.s, "T": pair.t}.items():
            description[f"loss of {kind} of {name}"] = f"{projection.loss:.2f} (bound {projection.bound:.2f})"
    return description


def _build_table(rows: Sequence[Row]) -> Table:
    columns = [
        Column(
            key=f"{split}_{key}",
            label=label,
            group=f"{title}: {kind}",
            chance=find_common_chance(rows, f"{split}_{key}"),
            better="none",
        )
        for split, title in SPLIT_TITLES.items()
        for kind, measures in _MEASURES.items()
        for key, label in measures.items()
    ]
    return Table(
        key="disentangle",
        title="Probe accuracy on S, and distance accuracy in T",
        labels=("Generator", "Backbone"),
        columns=tuple(columns),
        rows=tuple(rows),
        note="S: accuracies of a linear probe on the outputs of S; the lower, the more S removes. Labelling every "
        "image fake has an overall accuracy equal to the share of fake images. T: share of clusters in which the "
        "parent has the smallest (min) or largest (max) mean distance to the other images, in the outputs of T.",
    )


def _plot_training(trained: Sequence[_Projections]) -> list[Plot]:
    """Return plots of the singular values and of the losses by step, for each pair of S and T."""
    plots = []
    for pair in trained:
        projections = {"S": pair.s, "T": pair.t}
        values = {name: np.linalg.svd(p.weight, compute_uv=False) for name, p in projections.items()}
        plots.append(
            Plot(
                title="Singular values",
                of=format_labels(pair.labels),
                x_label="rank",
                y_label="relative to the largest",
                y_log=True,
                curves=tuple(
                    Curve(name=name, x=tuple(range(1, len(spectrum) + 1)), y=tuple((spectrum / spectrum[0]).tolist()))
                    for name, spectrum in values.items()
                ),
                note="A probe can rescale directions that S shrinks but does not set to zero.",
            )
        )
        plots.append(
            Plot(
                title="Training loss",
                of=format_labels(pair.labels),
                x_label="step",
                y_label="loss",
                curves=tuple(curve for name, p in projections.items() for curve in _draw_losses(name, p)),
                note="The bound is the lowest loss that any points can have on a batch of average size.",
            )
        )
    return plots


def _draw_losses(name: str, projection: Projection) -> tuple[Curve, Curve]:
    """Return the curve of the losses, averaged over at most `_DRAWN_LOSSES` blocks of steps, and its bound."""
    steps = len(projection.losses)
    blocks = np.array_split(np.array(projection.losses), min(steps, _DRAWN_LOSSES))
    ends = np.cumsum([len(block) for block in blocks])
    return (
        Curve(name=name, x=tuple(ends.tolist()), y=tuple(float(block.mean()) for block in blocks)),
        Curve(name=f"bound of {name}", x=(1, steps), y=(projection.bound, projection.bound)),
    )


def _note_training(trained: Sequence[_Projections]) -> list[str]:
    """Return a note for each projection that has not converged."""
    notes = []
    for pair in trained:
        for kind, projection in {"S": pair.s, "T": pair.t}.items():
            if not projection.is_converged:
                notes.append(f"{_describe_unconverged(kind, pair.labels, projection)}; raise disentangle.min_steps.")
    return notes


def _describe_unconverged(kind: str, labels: dict[str, str], projection: Projection) -> str:
    return (
        f"{kind} of {format_label(format_labels(labels))} had not converged after "
        f"{format_count(len(projection.losses), 'step', 'steps')} (loss {projection.loss:.2f}, bound "
        f"{projection.bound:.2f}), and its numbers are not to be interpreted"
    )


def _summarise(rows: Sequence[Row], trained: Sequence[_Projections]) -> str:
    tested = [row for row in rows if "test_s_overall" in row.cells and "test_t_max" in row.cells]
    if not tested:
        return "S and T were trained, but the test split lacks clusters to evaluate them on."
    row = tested[0]
    pair = next(pair for pair in trained if pair.labels == row.labels)
    for kind, projection in {"S": pair.s, "T": pair.t}.items():
        if not projection.is_converged:
            return f"{_describe_unconverged(kind, row.labels, projection)}."
    on_s, in_t = row.cells["test_s_overall"], row.cells["test_t_max"]
    return (
        f"On {row.labels['Backbone']} features ({format_label(row.labels['Generator'])}), a linear probe on S labels "
        f"{format_percent(on_s.value)} of {format_count(on_s.images, 'test image', 'test images')} correctly "
        f"({format_interval(on_s)}), and in T the parent has the largest mean distance to the other images in "
        f"{format_percent(in_t.value)} of {format_count(in_t.clusters, 'cluster', 'clusters')} "
        f"({format_interval(in_t)})."
    )


EXPERIMENT = Experiment(
    name="disentangle",
    title="How much of what tells real from fake is style, and how much is semantics?",
    paper="Table 4",
    settings=DisentangleSettings,
    check=check,
    run=run,
    cost=cost,
)
