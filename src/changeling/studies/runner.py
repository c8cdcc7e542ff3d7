"""Runs the experiments of a study, and checks beforehand what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from changeling.backbones import registry
from changeling.datasets.bundled import BUNDLED, is_bundled
from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.datasets.splits import describe_small_splits
from changeling.errors import DatasetError, FeatureError, StudyError
from changeling.experiments import retrieval
from changeling.experiments.base import Context, Experiment
from changeling.experiments.registry import EXPERIMENTS
from changeling.experiments.reporting import describe_dataset
from changeling.experiments.text_map import check_captioned_parents
from changeling.features.captions import has_caption_features
from changeling.features.store import count_missing_rows, has_features, list_extracted_backbones
from changeling.progress import Progress, silent
from changeling.results.result import Result
from changeling.studies.finished import FinishedResults
from changeling.studies.settings import Study


def open_dataset(study: Study, folder: Path) -> Dataset:
    """Open the dataset of a study whose file is in `folder`.

    Raises:
        StudyError: there is no such folder.
        DatasetError: the folder is not a dataset.
    """
    path = BUNDLED.get(study.dataset, folder / study.dataset)
    if not path.exists():
        raise StudyError(
            f"the dataset {path} does not exist; make it with `changeling import` (such as `import cocofake`) or "
            "`changeling build`, or correct `dataset` in the study file"
        )
    return Dataset(path)


def list_experiments(study: Study) -> list[Experiment[Any]]:
    """Return the experiments of a study in the order in which they run."""
    return [experiment for experiment in EXPERIMENTS.values() if experiment.name in study.experiments]


def list_backbones(dataset: Dataset, study: Study) -> tuple[str, ...]:
    """Return the backbones that a study names, or all that have features.

    Raises:
        FeatureError: the study names none, and none has features.
        BackboneError: there is no backbone of a name.
        StudyError: a backbone is named twice, or is not one of those of a bundled dataset.
    """
    extracted = list_extracted_backbones(dataset)
    backbones = study.backbones or extracted
    if not backbones:
        raise FeatureError(
            f"{dataset.path} has no features yet; run `changeling extract {dataset.path} --backbone clip-vit-b16`"
        )
    for name in backbones:
        if is_bundled(dataset.path) and name not in extracted:
            registry.canonical_name(name)  # raises BackboneError if there is no such backbone
            raise StudyError(
                f"the bundled datasets have features by {', '.join(extracted)}, not by {name}, and their "
                "image files are not part of the package"
            )
        _check_named_once(name, backbones)
    return backbones


def _check_named_once(name: str, backbones: Sequence[str]) -> None:
    """Raise StudyError if a backbone is named twice, or both with and without its default layer."""
    base, _, layer = name.rpartition("@")
    if backbones.count(name) > 1:
        raise StudyError(f"backbones names {name} twice")
    if base in backbones and registry.canonical_name(name) == base:
        raise StudyError(f"backbones names {base} twice: @{layer} is its default layer; remove {name}")


def check_study(dataset: Dataset, study: Study) -> dict[str, int]:
    """Check everything that can be checked before features are extracted.

    Returns:
        How many images each backbone of the study lacks features of.

    Raises:
        BackboneError: a backbone that lacks features cannot be loaded.
        FeatureError: there are no features and no backbones, or features were extracted from other images.
        StudyError: a setting names something that does not exist.
    """
    backbones = list_backbones(dataset, study)
    missing = {name: count_missing_rows(dataset, name) for name in backbones}
    for name, count in missing.items():
        if count and name in study.backbones:
            registry.check_backbone(name)
    check_settings(Context(dataset, backbones, study.seed, study.settings, seeds=study.seeds), study)
    return missing


def check_settings(context: Context, study: Study) -> dict[str, str]:
    """Check the settings of a study's experiments.

    Returns:
        The reason why an experiment cannot run on the dataset, for those that cannot.

    Raises:
        StudyError: a setting names something that does not exist.
    """
    reasons = {}
    for experiment in list_experiments(study):
        try:
            experiment.check(context, context.get_settings(experiment))
        except DatasetError as error:
            reasons[experiment.name] = format_reason(context.dataset, error)
    return reasons


def find_missing_text_encoder(dataset: Dataset, study: Study) -> str:
    """Return the text encoder that has to encode the captions for backbones that the study names; "" if none has to."""
    settings = study.settings[retrieval.EXPERIMENT.name]
    if retrieval.EXPERIMENT.name not in study.experiments or not isinstance(settings, retrieval.RetrievalSettings):
        return ""
    texts = [registry.has_text_tower(name) or has_caption_features(dataset, name) for name in study.backbones]
    if all(texts) or not settings.text_encoder or has_caption_features(dataset, settings.text_encoder):
        return ""
    try:
        check_captioned_parents(dataset)
    except DatasetError:
        return ""
    return settings.text_encoder


def select_backbones(dataset: Dataset, backbones: tuple[str, ...]) -> tuple[str, ...]:
    """Return the backbones that have features of at least one image. Raises FeatureError if none has."""
    selected = tuple(name for name in backbones if has_features(dataset, name))
    if not selected:
        raise FeatureError(f"{dataset.path}: no image could be read for the features by {', '.join(backbones)}")
    return selected


def format_reason(dataset: Dataset, error: DatasetError) -> str:
    """Return the message of an error as a sentence, without the path of the dataset."""
    return f"{str(error).removeprefix(f'{dataset.path}: ')}."


def run_experiments(
    dataset: Dataset,
    study: Study,
    *,
    projections: Path | None = None,
    finished: Path | None = None,
    note: Note = ignore_note,
    progress: Progress = silent,
) -> Iterator[Result]:
    """Run the experiments of a study, and yield each Result when it is finished.

    The Result of an experiment that cannot run on the dataset says why.

    Args:
        projections: the folder for checkpoints of S and T, from which a later run resumes.
        finished: the folder for finished results, which a later run takes if nothing has changed.
        note: called with which experiments have results of an earlier run, if any.

    Raises:
        FeatureError: features are missing, or were extracted from other images.
        StudyError: a setting names something that does not exist, or S and T diverge.
    """
    named = list_backbones(dataset, study)
    context = Context(
        dataset,
        select_backbones(dataset, named),
        study.seed,
        study.settings,
        projections,
        progress,
        compare_with_paper=study.reference.paper,
        seeds=study.seeds,
    )
    check_settings(context, study)
    empty = [name for name in named if name not in context.backbones]
    notes = (f"Excluded because no image has a feature: {', '.join(empty)}.",) if empty else ()
    small_splits = tuple(f"{line[0].upper()}{line[1:]}." for line in describe_small_splits(dataset))
    finished_results = FinishedResults.open(finished, context) if finished else None
    reused = _load_finished_results(finished_results, study, note) if finished_results else {}
    for experiment in list_experiments(study):
        result = reused.get(experiment.name)
        if result is None:
            result = _run_experiment(context, experiment)
            if finished_results and _is_complete(result, context):
                finished_results.save(result)
        shown = (*notes, *small_splits) if result.tables else notes
        yield result.model_copy(update={"notes": (*result.notes, *shown)})


def _load_finished_results(finished: FinishedResults, study: Study, note: Note) -> dict[str, Result]:
    """Return the results of an earlier run by the names of their experiments, and note which they are."""
    loaded = {experiment.name: finished.load(experiment.name) for experiment in list_experiments(study)}
    results = {name: result for name, result in loaded.items() if result is not None}
    if results:
        note(
            f"results of an earlier run, because nothing has changed: {', '.join(results)}; "
            f"to compute them again, remove {finished.folder}"
        )
    return results


def _is_complete(result: Result, context: Context) -> bool:
    """Return whether an experiment ran, on all backbones: it may lack a package or a network that comes later."""
    return bool(result.tables) and len(result.sources) >= len(context.backbones)


def _run_experiment(context: Context, experiment: Experiment[Any]) -> Result:
    """Run an experiment; the Result of one that cannot run on the dataset says why."""
    try:
        return experiment.run(context, context.get_settings(experiment))
    except DatasetError as error:
        return Result(
            experiment=experiment.name,
            title=experiment.title,
            paper=experiment.paper,
            summary=f"Not run: {format_reason(context.dataset, error)}",
            settings={},
            dataset=describe_dataset(context.dataset),
        )
