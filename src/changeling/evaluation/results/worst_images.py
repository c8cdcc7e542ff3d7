"""The images that each detector judges worst, as a Result of its own: its paths hold on one machine only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from changeling.evaluation.conditions import Condition
from changeling.evaluation.evaluation import DetectorScores, Evaluation
from changeling.evaluation.file_null import NULL_NAME
from changeling.experiments.reporting import describe_dataset, list_versions
from changeling.results.result import Picture, Result, Sheet, Strip

EXPERIMENT_NAME = "evaluation_images"
COUNT = 4  # of each label, for each detector


def describe_worst_images(evaluation: Evaluation) -> Result:
    """Return the Result: the real images with the highest scores of each detector, and the fakes with the lowest."""
    condition = evaluation.conditions[0]
    sheets = tuple(
        Sheet(
            key=key,
            title=title,
            note=_describe_pictures(condition),
            strips=tuple(_list_strips(evaluation, label)),
        )
        for label, key, title in (
            (0, "worst_real", "Real images that look most generated"),
            (1, "worst_fake", "Generated images that look most real"),
        )
    )
    return Result(
        experiment=EXPERIMENT_NAME,
        title="Which images do the detectors judge worst?",
        summary="The real images with the highest scores and the generated images with the lowest, of each detector.",
        settings={"images of each label": COUNT},
        sheets=tuple(sheet for sheet in sheets if sheet.strips),
        dataset=describe_dataset(evaluation.dataset),
        versions=list_versions(),
    )


def _describe_pictures(condition: Condition) -> str:
    """Return which images the detectors scored, and that the pictures are not these if they were changed."""
    note = f"{condition.title} images. Each detector's own; pictures that several show are hard for all of them."
    if condition.change is None:
        return note
    return f"{note} The scores are those of changed images ({condition.description}); the pictures are not changed."


def _list_strips(evaluation: Evaluation, label: int) -> Iterator[Strip]:
    """Yield a strip for each detector that scored the images of the first condition."""
    condition = evaluation.conditions[0].name
    for detector in evaluation.finished:
        if detector.name != NULL_NAME and condition in detector.scores:
            pictures = tuple(_list_pictures(evaluation, detector, label))
            if pictures:
                yield Strip(title=detector.name, pictures=pictures)


def _list_pictures(evaluation: Evaluation, detector: DetectorScores, label: int) -> Iterator[Picture]:
    """Yield the images of a label with the worst scores, the worst first; equal scores in the order of the dataset."""
    values = detector.scores[evaluation.conditions[0].name].values
    candidates = np.flatnonzero((evaluation.labels == label) & ~np.isnan(values))
    order = np.argsort(values[candidates] if label else -values[candidates], kind="stable")
    for index in candidates[order[:COUNT]]:
        row = evaluation.rows[index]
        image_id, path, generator, source = (
            evaluation.dataset.column(name)[row] for name in ("image_id", "path", "generator", "source")
        )
        score = float(values[index])
        yield Picture(
            path=str(evaluation.dataset.resolve_path(path).absolute()),
            role="child" if label else "parent",
            title=str(generator) if label else f"real ({source or image_id})",
            caption=f"score {score:.3g}",
            probability=score if detector.are_probabilities else None,
        )
