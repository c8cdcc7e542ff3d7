"""How well a linear probe recognises the children of generators that it was not trained on.

Every probe is trained on real images and the children of some generators, its C is chosen on validation images of the
same generators, and it is tested on another generator's children and the same real images. The tables show each
generator by each other, each one left out of training, the next one in order of release, and paired differences between
backbones and generators. A learning curve shows the AUROC over the number of clusters trained on. The probe has the
settings `children`, `C` and `standardise` of the experiment `probe`. The package knows the release dates of well-known
generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from pydantic import Field

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import probe
from changeling.experiments.base import Context, Cost, Experiment, Machine, Settings, estimate_memory
from changeling.experiments.crossgen_tables import (
    BackboneScores,
    build_chronological_table,
    build_difference_table,
    build_gap_table,
    build_left_out_table,
    build_matrices,
)
from changeling.experiments.generator_probes import (
    GeneratorProbes,
    count_training_clusters,
    has_validation_children,
    list_generator_names,
    list_large_generators,
)
from changeling.experiments.learning_curve import count_curve_images, evaluate_learning_curve, plot_learning_curves
from changeling.experiments.linear_probe import ProbeSettings, estimate_fit_seconds
from changeling.experiments.release_dates import find_release_dates
from changeling.experiments.reporting import describe_dataset, describe_source, list_versions, note_leakage
from changeling.experiments.selection import MIN_CLUSTERS
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Estimate, Result, Row

MAX_GENERATORS = 8  # tested: more make the tables unreadable, and take their square in time


class CrossgenSettings(Settings):
    """Settings of the experiment, besides those of the probe."""

    min_clusters: int = Field(
        default=50, ge=2, description="a generator with fewer clusters in the train split has no probe of its own"
    )
    draws: int = Field(default=5, ge=1, description="random draws of clusters for each point of the learning curve")
    released: Mapping[str, date] = Field(
        default={}, description='release dates by generator, such as "my-generator" = 2025-03-01; others are known'
    )


def run(context: Context, settings: CrossgenSettings) -> Result:
    """Train a probe for each set of generators, and test it on each generator.

    Raises:
        DatasetError: fewer than two generators have enough clusters.
        FeatureError: a backbone's features are missing, or were extracted from other images.
    """
    check(context, settings)
    dataset, probe_settings = context.dataset, context.get_settings(probe.EXPERIMENT)
    generators = list_tested_generators(context, settings)
    older = _list_older(context, settings)
    backbones, sources, unconverged = {}, [], []
    for done, features in enumerate(context.load_features(), start=1):
        name = features.header.backbone
        probes = GeneratorProbes(dataset, features, probe_settings, context.seed)
        backbones[name] = _score(context, settings, probes, older)
        unconverged += sorted(f"{name} features, {', '.join(sorted(trained))}" for trained in probes.unconverged)
        sources.append(describe_source(features))
        context.progress("crossgen", done, len(context.backbones))
    gap_table = build_gap_table(backbones)
    released = find_release_dates(list_generator_names(dataset), settings.released)
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        summary=_summarise(gap_table.rows, {name: scores.validation for name, scores in backbones.items()}),
        settings=_describe_settings(settings, probe_settings, context.seed),
        tables=(
            gap_table,
            *build_matrices(backbones),
            build_left_out_table(backbones),
            *build_chronological_table(backbones, released, older),
            build_difference_table(backbones),
        ),
        plots=tuple(plot_learning_curves({name: scores.curve for name, scores in backbones.items()}, settings.draws)),
        dataset=describe_dataset(dataset),
        sources=tuple(sources),
        versions=list_versions(),
        notes=(
            *note_leakage(dataset),
            *_list_notes(dataset, settings, generators, older),
            *_note_unconverged(unconverged),
        ),
    )


def check(context: Context, settings: CrossgenSettings) -> None:
    """Raise DatasetError if fewer than two generators have enough clusters to train and test a probe on."""
    found = list_tested_generators(context, settings)
    if len(found) < 2:
        needs_val = context.get_settings(probe.EXPERIMENT).C == "tuned"
        raise DatasetError(
            f"{context.dataset.path}: {'one generator has' if found else 'no generator has'} enough clusters, two are "
            f"needed: at least {settings.min_clusters} in the train split (crossgen.min_clusters), "
            f"{'one in the validation split, ' if needs_val else ''}and {MIN_CLUSTERS} in the test split"
        )


def cost(context: Context, settings: CrossgenSettings, machine: Machine) -> Cost:
    """Return the estimated cost: that of fitting every probe."""
    dataset, dims = context.dataset, machine.get_dims(context)
    generators = list_tested_generators(context, settings)
    has_two = len(list_generator_names(dataset)) == 2  # a probe for all others is then one for a single generator
    probes = 1 + len(generators) * (1 if has_two else 2) + len(_list_older(context, settings))
    parents = max(1, int(((dataset.column("split") == "train") & (dataset.labels == 0)).sum()))
    probes_of_curve = count_curve_images(dataset, settings.draws) / parents
    seconds = sum(estimate_fit_seconds(dataset, dim, machine.speed) for dim in dims)
    return Cost(1 + (probes + probes_of_curve) * seconds, estimate_memory(dataset, max(dims)))


def list_tested_generators(context: Context, settings: CrossgenSettings) -> list[str]:
    """Return the generators that are tested, sorted: the largest ones, at most `MAX_GENERATORS`."""
    probe_settings = context.get_settings(probe.EXPERIMENT)
    return sorted(list_large_generators(context.dataset, settings.min_clusters, probe_settings)[:MAX_GENERATORS])


def _list_older(context: Context, settings: CrossgenSettings) -> dict[str, list[str]]:
    """Return for each tested generator, from the oldest, those that were released before it, if they are enough."""
    dataset, needs_val = context.dataset, context.get_settings(probe.EXPERIMENT).C == "tuned"
    tested = list_tested_generators(context, settings)
    released = find_release_dates(list_generator_names(dataset), settings.released)
    older = {
        name: [other for other in released if released[other] < released[name]] for name in released if name in tested
    }
    return {
        name: others
        for name, others in older.items()
        if count_training_clusters(dataset, others) >= settings.min_clusters
        and (has_validation_children(dataset, others) or not needs_val)
    }


def _score(
    context: Context, settings: CrossgenSettings, probes: GeneratorProbes, older: Mapping[str, Sequence[str]]
) -> BackboneScores:
    """Return the scores of one backbone's probes."""
    dataset, generators = context.dataset, list_tested_generators(context, settings)
    names = list_generator_names(dataset)
    own_validation = [probes.validate(probes.train([name]), [name]) for name in generators]
    seen, left_out = probes.train(names), {name: probes.train(set(names) - {name}) for name in generators}
    return BackboneScores(
        curve=evaluate_learning_curve(dataset, probes, names, settings.draws, context.seed),
        validation=float(np.mean(own_validation)),
        pairs={
            trained: {tested: probes.evaluate(probes.train([trained]), [tested]) for tested in generators}
            for trained in generators
        },
        seen={name: probes.evaluate(seen, [name]) for name in generators},
        left_out={name: probes.evaluate(left_out[name], [name]) for name in generators},
        next={name: probes.evaluate(probes.train(others), [name]) for name, others in older.items()},
    )


def _describe_settings(
    settings: CrossgenSettings, probe_settings: ProbeSettings, seed: int
) -> dict[str, str | int | float | bool | None]:
    return {
        "children for training": {"one": "one random child per cluster", "all": "all"}[probe_settings.children],
        "C chosen by": "the study file"
        if probe_settings.C != "tuned"
        else "the lowest class-balanced log loss on validation images of the generators trained on",
        "C": probe_settings.C,
        "standardised features": probe_settings.standardise,
        "clusters of a generator in the train split, at least": settings.min_clusters,
        "draws of clusters for the learning curve": settings.draws,
        "seed": seed,
    }


def _summarise(rows: Sequence[Row], validation: Mapping[str, float]) -> str:
    """Summarise the backbone with the highest mean AUROC on the validation split, each probe on its own generator."""
    values = {name: value if np.isfinite(value) else -1.0 for name, value in validation.items()}
    best = max(values, key=lambda name: values[name])
    cells = next(row.cells for row in rows if row.labels["Backbone"] == best)
    is_unique = len(values) > 1 and list(values.values()).count(values[best]) == 1 and values[best] >= 0
    return (
        f"A probe on {best} features{', the best on validation,' if is_unique else ''} has a mean AUROC of "
        f"{_format(cells['own'])} on images by the generator that it was trained on and {_format(cells['foreign'])} on "
        f"images by another one: {_describe_loss(cells['own-foreign'])}. Trained on all generators but one, it has "
        f"{_format(cells['left_out'])} on the one left out; chance is 50 %."
    )


def _format(estimate: Estimate) -> str:
    return f"{format_percent(estimate.value)} ({format_interval(estimate)})"


def _describe_loss(loss: Estimate) -> str:
    """Return what a difference of AUROCs says: that something is lost, gained, or that the data cannot tell."""
    ends = sorted((abs(100 * loss.low), abs(100 * loss.high)))
    size = f"{abs(100 * loss.value):.1f} points (95 % interval {ends[0]:.1f} to {ends[1]:.1f})"
    if loss.low > 0:
        return f"it loses {size} on a new generator"
    if loss.high < 0:
        return f"it gains {size} on another generator"
    return (
        "the data cannot tell whether it loses on a new generator (95 % interval of the difference "
        f"{100 * loss.low:.1f} to {100 * loss.high:.1f} points)"
    )


def _list_notes(
    dataset: Dataset, settings: CrossgenSettings, generators: Sequence[str], older: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield what a reader must know of the generators: training children, those left out, those without a date."""
    sizes = ", ".join(f"{name} {count_training_clusters(dataset, [name]):,}" for name in generators)
    yield f"Clusters in the train split with a child by each generator: {sizes}."
    names = list_generator_names(dataset)
    if len(names) > len(generators):
        others = format_count(len(names) - len(generators), "generator is", "generators are")
        yield (
            f"{others} not tested, because of fewer than {settings.min_clusters} clusters or because {MAX_GENERATORS} "
            "others have more; the probes for all generators and for all others are trained on their children, too."
        )
    undated = [name for name in generators if name not in find_release_dates(generators, settings.released)]
    if undated:
        yield (
            f"Not in chronological order, because the release date is unknown: {', '.join(undated)}. Dates can be "
            "given in the table [crossgen.released] of the study file."
        )
    yield from _note_unpaired(dataset, generators)


def _note_unpaired(dataset: Dataset, generators: Sequence[str]) -> Iterator[str]:
    """Yield a note if some of the tested children have no parent in the test split."""
    in_test = dataset.column("split") == "test"
    is_child = in_test & np.isin(dataset.column("generator").astype(str), list(generators)) & (dataset.labels == 1)
    has_parent = np.isin(dataset.clusters[is_child], dataset.clusters[in_test & (dataset.labels == 0)])
    if not has_parent.all():
        yield (
            f"Of {format_count(len(has_parent), 'test child', 'test children')}, {int((~has_parent).sum()):,} have no "
            "parent: they are compared with real images of other content, so that content, source and file can tell "
            "them apart as well as traces of the generator."
        )


def _note_unconverged(unconverged: Sequence[str]) -> Iterator[str]:
    if unconverged:
        yield f"Probes that did not converge, by what they were trained on: {'; '.join(unconverged)}."


EXPERIMENT = Experiment(
    name="crossgen",
    title="Does a probe recognise generators that it has not seen?",
    paper="",
    settings=CrossgenSettings,
    check=check,
    run=run,
    cost=cost,
)
