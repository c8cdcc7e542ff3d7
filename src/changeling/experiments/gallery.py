"""Contact sheets of the test split: clusters, the most and least realistic children, and errors of the probe.

Each child has the caption that it was made from, if that is known; the least realistic children follow their parents.
The probe is that of the experiment `probe`, with its settings, on the features of a single backbone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    pictures: int = Field(default=10, ge=1, description="the most children or errors in a strip of the other sheets")


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
        sheets=_build_sheets(_Pictures(dataset, rows, probability, _read_captions(dataset)), settings),
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


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The pictures to choose from.

    Attributes:
        rows: of the test split, those whose files exist.
        probability: of being fake, by row of the dataset.
        captions: by cluster and index.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    probability: NDArray[np.float64]
    captions: Mapping[tuple[str, int], str]

    def build(self, rows: Iterable[int]) -> tuple[Picture, ...]:
        """Return the pictures of some rows."""
        return tuple(map(self._build_picture, rows))

    def _build_picture(self, row: int) -> Picture:
        dataset, probability = self.dataset, float(self.probability[row])
        path = dataset.resolve_path(dataset.column("path")[row])
        is_child = bool(dataset.labels[row])
        source = dataset.column("cluster_id")[row], dataset.column("caption_index")[row]
        return Picture(
            path=str(path.absolute()),
            role="child" if is_child else "parent",
            title=dataset.column("generator")[row] if is_child else Path(path).name,
            probability=probability,
            label="fake" if probability > 0.5 else "real",
            caption=self.captions.get(source, "") if is_child else "",
        )


def _read_captions(dataset: Dataset) -> dict[tuple[str, int], str]:
    columns = (dataset.captions[name].to_pylist() for name in ("cluster_id", "caption_index", "caption"))
    return {(cluster, index): caption for cluster, index, caption in zip(*columns, strict=True)}


def _build_sheets(pictures: _Pictures, settings: GallerySettings) -> tuple[Sheet, ...]:
    """Build the sheets of clusters (Figure 3), realism (Figure 4) and errors (Figure 5); empty ones are left out."""
    most, least = _rank_children(pictures, settings.pictures)
    realism = {"Most realistic": most, "Least realistic, each after its parent": _add_parents(pictures, least)}
    strips = {
        ("clusters", "Clusters"): list(_build_cluster_strips(pictures, settings.clusters)),
        ("realism", "Children by the probe's rating"): _build_strips(pictures, realism),
        ("verdicts", "Errors of the probe, and the images that it is least certain about"): _build_strips(
            pictures, _rank_errors(pictures, settings.pictures)
        ),
    }
    return tuple(Sheet(key=key, title=title, strips=tuple(built)) for (key, title), built in strips.items() if built)


def _rank_children(pictures: _Pictures, limit: int) -> tuple[list[int], list[int]]:
    """Return the more realistic half of the children and the other half, the most extreme first, up to a limit."""
    ordered = pictures.rows[np.argsort(pictures.probability[pictures.rows], kind="stable")]
    children = ordered[pictures.dataset.labels[ordered] == 1].tolist()
    half = (len(children) + 1) // 2
    return children[:half][:limit], children[half:][::-1][:limit]


def _add_parents(pictures: _Pictures, children: Sequence[int]) -> list[int]:
    """Return children grouped by cluster, in order of each cluster's first child, each group after its parents."""
    labels, clusters = pictures.dataset.labels, pictures.dataset.clusters
    parents = [row for row in pictures.rows.tolist() if labels[row] == 0]
    return [
        row
        for cluster in dict.fromkeys(clusters[children])
        for row in (*parents, *children)
        if clusters[row] == cluster
    ]


def _rank_errors(pictures: _Pictures, limit: int) -> dict[str, list[int]]:
    """Return the most certain errors of both kinds, and of the other images the least certain first."""
    rows, probability = pictures.rows, pictures.probability
    ordered = rows[np.argsort(probability[rows], kind="stable")]
    is_fake, is_predicted_fake = pictures.dataset.labels[ordered] == 1, probability[ordered] > 0.5
    errors = {
        "Real, labelled fake: most certain first": ordered[~is_fake & is_predicted_fake][::-1][:limit],
        "Fake, labelled real: most certain first": ordered[is_fake & ~is_predicted_fake][:limit],
    }
    others = np.setdiff1d(rows, np.concatenate(list(errors.values())))
    uncertain = others[np.argsort(np.abs(probability[others] - 0.5), kind="stable")][:limit]
    return {title: shown.tolist() for title, shown in (errors | {"Least certain": uncertain}).items()}


def _build_strips(pictures: _Pictures, rows_by_title: dict[str, list[int]]) -> list[Strip]:
    return [Strip(title=title, pictures=pictures.build(rows)) for title, rows in rows_by_title.items() if rows]


def _build_cluster_strips(pictures: _Pictures, limit: int) -> Iterator[Strip]:
    """Yield the first clusters with a parent and a child, the parent first, in the dataset's order.

    If none of the children has a known caption, the strip has the first one of the cluster.
    """
    dataset, rows_by_cluster = pictures.dataset, defaultdict[int, list[int]](list)
    for row in pictures.rows.tolist():
        rows_by_cluster[int(dataset.clusters[row])].append(row)
    paired = [members for members in rows_by_cluster.values() if len(set(dataset.labels[members].tolist())) == 2]
    for members in paired[:limit]:
        name = dataset.column("cluster_id")[members[0]]
        shown = pictures.build(sorted(members, key=lambda row: (dataset.labels[row], row)))
        has_captions = any(picture.caption for picture in shown)
        yield Strip(title=name, caption="" if has_captions else pictures.captions.get((name, 0), ""), pictures=shown)


EXPERIMENT = Experiment(
    name="gallery",
    title="What do the images look like?",
    paper="Figures 1, 3, 4 and 5",
    settings=GallerySettings,
    check=check,
    run=run,
    cost=cost,
)
