"""A study: a set of experiments over a dataset."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from changeling.backbones import registry
from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError, FeatureError, StudyError
from changeling.experiments import base, confounds, disentangle, distances, embedding, gallery, probe, retrieval
from changeling.experiments.base import Context
from changeling.experiments.settings import NAMES, Name
from changeling.features.store import available, has_any, missing_rows
from changeling.progress import Progress, silent
from changeling.results.format import ALL_LABEL
from changeling.results.result import Result
from changeling.studies.settings import BUNDLED, Study

LISTED = 8  # generators that an error names


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment: its question, which table or figure of the paper it is, how it is run, and when it cannot be.

    Attributes:
        check: raises DatasetError, as `run` does, for what the dataset lacks; it looks at no feature.
    """

    title: str
    paper: str
    run: Callable[[Context, Study], Result]
    check: Callable[[Context, Study], None]


EXPERIMENTS: dict[Name, Experiment] = {
    "distances": Experiment(
        distances.TITLE,
        distances.PAPER,
        lambda context, study: distances.run(context, study.distances),
        lambda *_: None,
    ),
    "probe": Experiment(
        probe.TITLE,
        probe.PAPER,
        lambda context, study: probe.run(context, study.probe),
        lambda context, study: probe.check(context, study.probe),
    ),
    "retrieval": Experiment(
        retrieval.TITLE,
        retrieval.PAPER,
        lambda context, _: retrieval.run(context),
        lambda context, _: retrieval.check(context),
    ),
    "disentangle": Experiment(
        disentangle.TITLE,
        disentangle.PAPER,
        lambda context, study: disentangle.run(context, study.disentangle),
        lambda context, _: disentangle.check(context),
    ),
    "embedding": Experiment(
        embedding.TITLE,
        embedding.PAPER,
        lambda context, study: embedding.run(context, study.embedding, study.disentangle),
        lambda context, study: embedding.check(context, study.embedding),
    ),
    "gallery": Experiment(
        gallery.TITLE,
        gallery.PAPER,
        lambda context, study: gallery.run(context, study.gallery, study.probe),
        lambda context, study: gallery.check(context, study.probe),
    ),
    "confounds": Experiment(
        confounds.TITLE,
        confounds.PAPER,
        lambda context, _: confounds.run(context),
        lambda context, _: confounds.check(context),
    ),
}


def open_dataset(study: Study, folder: Path) -> Dataset:
    """The dataset of a study whose file is in `folder`. Raises DatasetError if it is not there."""
    return Dataset(_bundled() if study.dataset == BUNDLED else folder / study.dataset)


def _bundled() -> Path:
    return Path(str(files("changeling"))) / "data" / "true-clusters"


def chosen_backbones(dataset: Dataset, study: Study) -> tuple[str, ...]:
    """The backbones that a study names, or all that have features; less those that have not one image's.

    Raises:
        BackboneError: features by one that it names are missing, and it cannot be loaded here.
        FeatureError: it names none, and none has features.
        StudyError: a backbone is named twice or is none of those of the bundled clusters, an experiment's backbone is
            not among them, or a probe is to be trained on an absent generator.
    """
    named = named_backbones(dataset, study)
    for name in named:
        if dataset.path.resolve() == _bundled().resolve() and name not in available(dataset):
            raise StudyError(
                f"the bundled clusters have features by {', '.join(available(dataset))}, not by {name}, and their "
                "image files are not part of the package"
            )
        if named.count(name) > 1:
            raise StudyError(f"backbones names {name} twice")
        if name in study.backbones and missing_rows(dataset, name):
            registry.check_backbone(name)
    if not named:
        raise FeatureError(
            f"{dataset.path} has no features yet; run `changeling extract {dataset.path} --backbone clip-vit-b16`"
        )
    backbones = tuple(name for name in named if has_any(dataset, name))
    if not backbones:
        raise FeatureError(f"{dataset.path}: no image could be read for the features by {', '.join(named)}")
    for name in ("embedding", "gallery"):
        wanted = getattr(study, name).backbone
        if wanted and wanted not in backbones:
            raise StudyError(f"{name}.backbone = {wanted!r} is not among the backbones: {', '.join(backbones)}")
    known = sorted({ALL_LABEL, *(set(dataset.column("generator")) - {None})})
    wanted = study.probe.train_on
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 1)
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known[:LISTED])}{more}"
        raise StudyError(f"probe.train_on = {wanted!r} made no child; {hint}")
    return backbones


def named_backbones(dataset: Dataset, study: Study) -> tuple[str, ...]:
    """The backbones that a study names, or all of which there are features."""
    return study.backbones or available(dataset)


def reason(dataset: Dataset, error: DatasetError) -> str:
    """Why an experiment is not run, in a sentence."""
    return f"{str(error).removeprefix(f'{dataset.path}: ')}."


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
    empty = [name for name in named_backbones(dataset, study) if name not in context.backbones]
    left_out = (f"Left out, as no image could be read for them: the features by {', '.join(empty)}.",) if empty else ()
    for name in NAMES:
        if name in study.experiments:
            experiment = EXPERIMENTS[name]
            try:
                result = experiment.run(context, study)
            except DatasetError as error:
                result = Result(
                    experiment=name,
                    title=experiment.title,
                    paper=experiment.paper,
                    summary=f"Not run: {reason(dataset, error)}",
                    settings={},
                    dataset=base.about(dataset),
                )
            yield result.model_copy(update={"notes": (*result.notes, *left_out)})
