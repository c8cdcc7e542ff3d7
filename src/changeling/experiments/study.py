"""A study: a set of experiments over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from changeling.clusters.manifest import Dataset
from changeling.errors import DatasetError, FeatureError, StudyError
from changeling.experiments import common, disentangle, distances, embedding, gallery, probe, retrieval
from changeling.experiments.common import Context
from changeling.experiments.result import Result
from changeling.experiments.settings import BUNDLED, NAMES, Name, Study
from changeling.features.store import available
from changeling.progress import Progress, silent

EXPERIMENTS: dict[Name, Callable[[Context, Study], Result]] = {
    "distances": lambda context, study: distances.run(context, study.distances),
    "probe": lambda context, study: probe.run(context, study.probe),
    "retrieval": lambda context, _: retrieval.run(context),
    "disentangle": lambda context, study: disentangle.run(context, study.disentangle),
    "embedding": lambda context, study: embedding.run(context, study.embedding, study.disentangle),
    "gallery": lambda context, study: gallery.run(context, study.gallery, study.probe),
}


def open_dataset(study: Study, folder: Path) -> Dataset:
    """The dataset of a study whose file is in `folder`. Raises DatasetError if it is not there."""
    if study.dataset == BUNDLED:
        return Dataset(Path(str(files("changeling"))) / "data" / "true-clusters")
    return Dataset(folder / study.dataset)


def chosen_backbones(dataset: Dataset, study: Study) -> tuple[str, ...]:
    """The backbones that a study names, or all that have features.

    Raises:
        FeatureError: it names none, and none has features.
        StudyError: an experiment's backbone is not among them, or a probe is to be trained on an absent generator.
    """
    backbones = study.backbones or available(dataset)
    if not backbones:
        raise FeatureError(
            f"{dataset.path} has no features yet; run `changeling extract {dataset.path} --backbone clip-vit-b16`"
        )
    for name in ("embedding", "gallery"):
        wanted = getattr(study, name).backbone
        if wanted and wanted not in backbones:
            raise StudyError(f"{name}.backbone = {wanted!r} is not among the backbones: {', '.join(backbones)}")
    known = {common.ALL, *(set(dataset.column("generator")) - {None})}
    if study.probe.train_on not in known:
        raise StudyError(
            f"probe.train_on = {study.probe.train_on!r} made no child; there are {', '.join(sorted(known))}"
        )
    return backbones


def run_study(
    dataset: Dataset, study: Study, *, heads: Path | None = None, progress: Progress = silent
) -> Iterator[Result]:
    """Run a study's experiments in the paper's order; yield each Result as it is there.

    An experiment that the dataset lacks something for becomes a Result that says so. `heads` is where trained heads
    are kept, so that a study which was killed goes on.

    Raises:
        FeatureError: no backbone has features, or they were made from other images.
        StudyError: the study asks for what the dataset does not have.
    """
    context = Context(dataset, chosen_backbones(dataset, study), study.seed, heads, progress)
    for name in NAMES:
        if name in study.experiments:
            try:
                yield EXPERIMENTS[name](context, study)
            except DatasetError as error:
                yield Result(
                    experiment=name,
                    title=name.title(),
                    summary=f"Not run: {str(error).removeprefix(f'{dataset.path}: ')}",
                    settings={},
                )
