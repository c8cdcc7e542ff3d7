"""Projections S and T of features: S is trained to remove what tells real from fake, T to amplify it.

Table 4 shows the accuracy of a linear probe on S, and distance accuracy in T; beside them stand both measures on raw
features, in S and in T. A curve over the probe's C, a non-linear probe and the singular values of S show what S removes
and what it only rescales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from changeling.datasets.dataset import Dataset
from changeling.experiments.base import MIB, Context, Cost, Experiment, Machine, estimate_memory
from changeling.experiments.disentangle_summary import summarise_changes
from changeling.experiments.linear_probe import (
    ProbeSettings,
    Strength,
    check_probe,
    check_train_on,
    estimate_fit_seconds,
)
from changeling.experiments.paper import TRAINING_GENERATOR, add_paper_values
from changeling.experiments.probe_curve import (
    ProbeCurve,
    build_curve_table,
    estimate_curve_seconds,
    evaluate_probe_curve,
    format_labels,
    plot_curves,
)
from changeling.experiments.projection_evaluation import (
    Evaluation,
    build_table,
    list_unconverged,
    train_and_evaluate,
)
from changeling.experiments.projection_plots import plot_training
from changeling.experiments.projections import (
    ProjectionSettings,
    check_trainable,
    list_trainable_generators,
)
from changeling.experiments.reporting import (
    describe_dataset,
    describe_seeds,
    describe_source,
    join_over_seeds,
    list_versions,
    note_leakage,
    sort_by_generator,
    summarise_by_generator,
)
from changeling.experiments.selection import has_both_classes, list_generators, select_all, select_rows
from changeling.features.store import Features
from changeling.results.format import ALL_LABEL, format_count, format_label
from changeling.results.result import Result

EACH = "each"  # as `train_on`: S and T of each generator of their own
_NOTES = (
    "The two terms of Eq. 4 have the same denominator for each anchor, so it cancels: the temperature and the way in "
    "which the sum is averaged only scale the loss, and AdamW is invariant to the scale of the loss. Weight decay is "
    "not a scale.",
    "S is a square linear map. Unless it is singular, a probe with little regularisation can invert it. The curve over "
    "C separates what S removes (low accuracy at every C) from what it only rescales (low accuracy at small C).",
)


class DisentangleSettings(ProjectionSettings):
    """Settings of Table 4. The paper does not give temperature, weight_decay, C and standardise."""

    train_on: str = Field(
        default=EACH,
        description='train S, T and their probes on "each" generator apart; or on this generator\'s children, or those '
        'of "all", to evaluate them on every generator: the paper allows both readings',
    )
    C: Strength = Field(
        default=1.0,
        description='of the linear probes, scikit-learn\'s default; "tuned": chosen on the validation split',
    )
    standardise: bool = Field(default=False, description="for the linear probes, as in [probe]")
    curve: bool = Field(default=True, description="also run the curve over C and the non-linear probe")

    def get_training_generator(self, generator: str) -> str:
        """Return the generator that S and T are trained on if they are evaluated on a given one."""
        return generator if self.train_on == EACH else self.train_on

    def make_probe_settings(self, generator: str) -> ProbeSettings:
        """Return the settings of a linear probe that is trained on a generator."""
        return ProbeSettings(train_on=generator, C=self.C, standardise=self.standardise)


def run(context: Context, settings: DisentangleSettings) -> Result:
    """Train S and T for each generator and backbone; fit probes and measure distances (sections 3.4, 4.2).

    Raises:
        DatasetError: the train split has no two clusters with a parent and a child, or a split lacks a class.
        FeatureError: a backbone's features are missing, or were extracted from other images.
        StudyError: training diverges with these settings.
    """
    dataset, sources = context.dataset, []
    evaluations: list[Evaluation] = []
    curves: list[ProbeCurve] = []
    for features in context.load_features():
        for trained_on, tested_on in _plan_training(dataset, features.valid, settings).items():
            probe_settings = settings.make_probe_settings(trained_on)
            evaluation = train_and_evaluate(context, features, tested_on, settings, probe_settings)
            evaluations.append(evaluation)
            curves += _evaluate_curve(context, features, evaluation) if settings.curve else []
        sources.append(describe_source(features))
    rows = sort_by_generator(dataset, [row for evaluation in evaluations for row in evaluation.rows])
    table = build_table(rows, _describe_training(settings))
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary=summarise_by_generator(dataset, rows, partial(summarise_changes, evaluations=evaluations)),
        settings=_describe_settings(settings, context, evaluations),
        tables=(
            add_paper_values(table, context, settings, _make_paper_settings(settings)),
            *build_curve_table(curves),
        ),
        plots=(
            *plot_curves(curves),
            *(
                plot
                for one in evaluations
                for plot in plot_training(format_labels(one.labels), one.runs[0].projections)
            ),
        ),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(
            *note_leakage(dataset),
            *_NOTES,
            *(note for one in evaluations for note in dict.fromkeys(list_unconverged(one))),
        ),
    )


def check(context: Context, settings: DisentangleSettings) -> None:
    """Check that S, T and their probes can be trained if all images have features.

    Raises:
        DatasetError: the train split has no two clusters with a parent and a child; or C is tuned, and the validation
            split lacks real or fake images.
        StudyError: no image of the dataset is by the generator to train on.
    """
    dataset, valid = context.dataset, select_all(context.dataset)
    check_train_on(dataset, EXPERIMENT.name, settings.train_on, (EACH, ALL_LABEL))
    for trained_on in _plan_training(dataset, valid, settings):
        check_probe(dataset, valid, settings.make_probe_settings(trained_on), context.seed)


def cost(context: Context, settings: DisentangleSettings, machine: Machine) -> Cost:
    """Return the estimated cost, fitted to the measurements of benchmarks/study.py."""
    dataset, dims = context.dataset, machine.get_dims(context)
    pairs = len(_plan_training(dataset, select_all(dataset), settings))  # of S and T
    seconds = sum(pairs * _estimate_seconds(context, settings, dim, machine.speed) for dim in dims)
    checkpoints = sum(6 * pairs * context.seeds * dim**2 * 4 for dim in dims)
    return Cost(1 + seconds, estimate_memory(dataset, max(dims), copies=2), checkpoints + MIB)


def _estimate_seconds(context: Context, settings: DisentangleSettings, dim: int, speed: float) -> float:
    """Return how long S and T of one generator and backbone take, with their probes."""
    dataset = context.dataset
    images = int((dataset.column("split") == "train").sum())
    steps = max(settings.epochs * max(images / settings.batch, 1), settings.min_steps)
    training = 2 * steps * (9 * settings.batch * dim * dim / speed + 3e-3)
    curve = estimate_curve_seconds(images, dim, speed) if settings.curve else 0
    probes = 3 * estimate_fit_seconds(dataset, dim, speed) if settings.C == "tuned" else 0
    return context.seeds * (training + probes) + curve + 3


def _make_paper_settings(settings: DisentangleSettings) -> DisentangleSettings:
    """Return the paper's settings: in Table 4, v2.1 may be trained on v2.1 or on v1.4."""
    readings = (EACH, TRAINING_GENERATOR)
    train_on = settings.train_on if settings.train_on in readings else EACH
    return DisentangleSettings(curve=settings.curve, train_on=train_on)


def _plan_training(dataset: Dataset, valid: NDArray[np.bool_], settings: DisentangleSettings) -> dict[str, list[str]]:
    """Return the generators to train S and T on, each with the generators to evaluate them on.

    Raises:
        DatasetError: the train split has no two clusters with a parent and a child.
    """
    if settings.train_on == EACH:
        return {generator: [generator] for generator in list_trainable_generators(dataset, valid)}
    check_trainable(dataset, valid, settings.train_on)
    return {settings.train_on: list_generators(dataset)}


def _evaluate_curve(context: Context, features: Features, evaluation: Evaluation) -> list[ProbeCurve]:
    """Return the curve over C on S, on the test images of the generator that S is trained on; none if a class lacks."""
    labels = evaluation.labels
    test = select_rows(context.dataset, features.valid, labels["Generator"], "test")
    if not has_both_classes(context.dataset.labels[test]):
        return []
    on_s = replace(features, values=evaluation.runs[0].projections["S"].project(features.values))
    return [evaluate_probe_curve(context, {"raw features": features, "S": on_s}, labels)]


def _describe_training(settings: DisentangleSettings) -> str:
    if settings.train_on == EACH:
        return "S, T and the probes of each generator are trained on its own children."
    return f"S, T and the probes are trained on the children of {format_label(settings.train_on)}, in every row."


def _describe_settings(
    settings: DisentangleSettings, context: Context, evaluations: Sequence[Evaluation]
) -> dict[str, str | int | float | bool | None]:
    strength = "chosen on the validation split" if settings.C == "tuned" else f"{settings.C:g}"
    description: dict[str, str | int | float | bool | None] = {
        "S and T": "square linear maps without bias, initialised uniformly in ±1/√D; outputs L2-normalised",
        "optimiser": "AdamW, betas 0.9 and 0.999",
        "learning rate": settings.lr,
        "weight decay": settings.weight_decay,
        "epochs": f"{settings.epochs:,}, but at least {format_count(settings.min_steps, 'step', 'steps')}",
        "images in a batch, of whole clusters": settings.batch,
        "temperature": settings.temperature,
        "the loss of a batch": "the mean over its images (anchors, in Eq. 5)",
        "trained on": "each generator's clusters of the train split"
        if settings.train_on == EACH
        else f"the train split's clusters with children by {format_label(settings.train_on)}",
        "linear probes": f"logistic regression, C {'' if settings.C == 'tuned' else '= '}{strength}, features "
        f"{'standardised' if settings.standardise else 'not standardised'}",
        "seed": describe_seeds(context.seed, context.seeds),
    }
    for evaluation in evaluations:
        name, runs = format_label(format_labels(evaluation.labels)), evaluation.runs
        description[f"clusters that S and T of {name} were trained on"] = runs[0].projections["S"].clusters
        description[f"steps of the training of S and T of {name}"] = len(runs[0].projections["S"].losses)
        for kind, projection in runs[0].projections.items():
            losses = ", ".join(f"{run.projections[kind].loss:.2f}" for run in runs)
            description[f"loss of {kind} of {name}"] = f"{losses} (bound {projection.bound:.2f})"
        for space in runs[0].probes if settings.C == "tuned" else ():
            strengths = [run.probes[space].c for run in runs]
            description[f"C of the probe on {space} of {name}"] = join_over_seeds(strengths)
    return description


EXPERIMENT = Experiment(
    name="disentangle",
    title="How much of what tells real from fake is style, and how much is semantics?",
    paper="Table 4",
    settings=DisentangleSettings,
    check=check,
    run=run,
    cost=cost,
)
