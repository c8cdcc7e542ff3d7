"""Contact sheets of the test split: clusters, the most and least realistic children, and errors of the probe.

The probe is that of the experiment `probe`, with its settings, on the features of a single backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import probe
from changeling.experiments.base import (
    BackboneSettings,
    Context,
    Cost,
    Experiment,
    Machine,
    check_backbone,
    estimate_memory,
)
from changeling.experiments.linear_probe import estimate_fit_seconds, fit_probe
from changeling.experiments.reporting import describe_dataset, describe_source, list_versions
from changeling.experiments.selection import select_all
from changeling.features.store import load_features
from changeling.results.result import Picture, Result, Sheet, Strip


class GallerySettings(BackboneSettings):
    """Settings of Figures 1, 3, 4 and 5."""

    backbone: str = Field(default="", description='one of the backbones; "": the first')
    clusters: int = Field(default=12, ge=1, description="clusters on the first sheet")
    pictures: int = Field(default=10, ge=1, description="the most pictures in a strip of the other sheets")


def run(context: Context, settings: GallerySettings) -> Result:
    """Lay out sheets of the test split, with the fake probability that a probe on one backbone predicts.

    Raises:
        DatasetError: a split lacks real or fake images, or no image file of the test split exists.
        FeatureError: the features are missing, or were extracted from other images.
    """
    dataset = context.dataset
    backbone = _choose_backbone(context, settings)
    features = load_features(dataset, backbone)
    rows = _select_existing(dataset, features.valid)
    fitted = fit_probe(dataset, features, context.get_settings(probe.EXPERIMENT), seed=context.seed)
    probability = np.full(len(dataset), np.nan)
    probability[rows] = expit(fitted.predict_scores(features.values[rows]))
    context.progress("gallery", 1, 1)
    return Result(
        experiment=EXPERIMENT.name,
        title=EXPERIMENT.title,
        paper=EXPERIMENT.paper,
        summary="Clusters, the children that the probe rates most and least realistic, and the probe's errors.",
        settings={"backbone": backbone, "seed": context.seed, "C": fitted.c},
        sheets=_build_sheets(dataset, rows, probability, settings),
        dataset=describe_dataset(dataset),
        sources=(describe_source(features),),
        versions=list_versions(),
    )


def check(context: Context, settings: GallerySettings) -> None:
    """Check that there are files to show, and that a probe can be fitted if all images have features.

    Raises:
        DatasetError: a split lacks real or fake images, or no image file of the test split exists.
        StudyError: the backbone is none of the study's, or the generator to train on does not exist.
    """
    check_backbone(context, EXPERIMENT.name, settings.backbone)
    _select_existing(context.dataset, select_all(context.dataset))
    probe.check(context, context.get_settings(probe.EXPERIMENT))


def cost(context: Context, settings: GallerySettings, machine: Machine) -> Cost:
    """Return the estimated cost: that of fitting one probe."""
    dataset, dim = context.dataset, machine.get_dim(_choose_backbone(context, settings))
    return Cost(1 + estimate_fit_seconds(dataset, dim, machine.speed), estimate_memory(dataset, dim))


def _choose_backbone(context: Context, settings: GallerySettings) -> str:
    check_backbone(context, EXPERIMENT.name, settings.backbone)
    return settings.backbone or context.backbones[0]


def _select_existing(dataset: Dataset, valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rows of the test split whose files exist."""
    rows = np.flatnonzero((dataset.column("split") == "test") & valid)
    exists = [dataset.resolve_path(path).is_file() for path in dataset.column("path")[rows]]
    rows = rows[np.array(exists, dtype=np.bool_)]
    if not len(rows):
        raise DatasetError(f"{dataset.path}: the image files of the test split do not exist")
    return rows


def _build_sheets(
    dataset: Dataset, rows: NDArray[np.int64], probability: NDArray[np.float64], settings: GallerySettings
) -> tuple[Sheet, ...]:
    """Build the sheets of clusters (Figure 3), realism (Figure 4) and errors (Figure 5); empty ones are left out."""
    strips = {
        ("clusters", "Clusters"): list(_build_cluster_strips(dataset, rows, probability, settings.clusters)),
        ("realism", "Children by the probe's rating"): _build_strips(
            dataset, _rank_children(dataset, rows, probability), probability, settings.pictures
        ),
        ("verdicts", "Errors of the probe, and the images that it is least certain about"): _build_strips(
            dataset, _rank_errors(dataset, rows, probability, settings.pictures), probability, settings.pictures
        ),
    }
    return tuple(Sheet(key=key, title=title, strips=tuple(built)) for (key, title), built in strips.items() if built)


def _rank_children(
    dataset: Dataset, rows: NDArray[np.int64], probability: NDArray[np.float64]
) -> dict[str, NDArray[np.int64]]:
    """Return the more realistic half of the children and the other half, the most extreme first."""
    ordered = rows[np.argsort(probability[rows], kind="stable")]
    children = ordered[dataset.labels[ordered] == 1]
    half = (len(children) + 1) // 2
    return {"Most realistic": children[:half], "Least realistic": children[half:][::-1]}


def _rank_errors(
    dataset: Dataset, rows: NDArray[np.int64], probability: NDArray[np.float64], limit: int
) -> dict[str, NDArray[np.int64]]:
    """Return the most certain errors of both kinds, and of the other images the least certain first."""
    ordered = rows[np.argsort(probability[rows], kind="stable")]
    is_fake, is_predicted_fake = dataset.labels[ordered] == 1, probability[ordered] > 0.5
    errors = {
        "Real, labelled fake: most certain first": ordered[~is_fake & is_predicted_fake][::-1][:limit],
        "Fake, labelled real: most certain first": ordered[is_fake & ~is_predicted_fake][:limit],
    }
    others = np.setdiff1d(rows, np.concatenate(list(errors.values())))
    return errors | {"Least certain": others[np.argsort(np.abs(probability[others] - 0.5), kind="stable")]}


def _build_strips(
    dataset: Dataset, rows_by_title: dict[str, NDArray[np.int64]], probability: NDArray[np.float64], limit: int
) -> list[Strip]:
    return [
        Strip(title=title, pictures=tuple(_build_picture(dataset, i, probability[i]) for i in rows[:limit].tolist()))
        for title, rows in rows_by_title.items()
        if len(rows)
    ]


def _build_cluster_strips(
    dataset: Dataset, rows: NDArray[np.int64], probability: NDArray[np.float64], limit: int
) -> Iterable[Strip]:
    """Yield the first clusters with a parent and a child, the parent first, in the dataset's order."""
    rows_by_cluster: dict[int, list[int]] = {}
    for row in rows.tolist():
        rows_by_cluster.setdefault(int(dataset.clusters[row]), []).append(row)
    captions: dict[str, str] = {}
    for name, caption in zip(*(dataset.captions[key].to_pylist() for key in ("cluster_id", "caption")), strict=True):
        captions.setdefault(name, caption)
    paired = [members for members in rows_by_cluster.values() if len(set(dataset.labels[members].tolist())) == 2]
    for members in paired[:limit]:
        name = dataset.column("cluster_id")[members[0]]
        ordered = sorted(members, key=lambda row: (dataset.labels[row], row))
        pictures = tuple(_build_picture(dataset, row, probability[row]) for row in ordered)
        yield Strip(title=name, caption=captions.get(name, ""), pictures=pictures)


def _build_picture(dataset: Dataset, row: int, probability: float) -> Picture:
    path = dataset.resolve_path(dataset.column("path")[row])
    is_child = bool(dataset.labels[row])
    return Picture(
        path=str(path.absolute()),
        role="child" if is_child else "parent",
        title=dataset.column("generator")[row] if is_child else Path(path).name,
        probability=float(probability),
        label="fake" if probability > 0.5 else "real",
    )


EXPERIMENT = Experiment(
    name="gallery",
    title="What do the images look like?",
    paper="Figures 1, 3, 4 and 5",
    settings=GallerySettings,
    check=check,
    run=run,
    cost=cost,
)
