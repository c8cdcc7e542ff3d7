"""Figures 1, 3, 4 and 5: clusters, the most and least realistic children, and mistakes, as contact sheets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import base, probe
from changeling.experiments.base import Context
from changeling.experiments.settings import GallerySettings, ProbeSettings
from changeling.features.store import load_features
from changeling.results.result import Picture, Result, Sheet, Strip

TITLE, PAPER = "What it looks like", "Figures 1, 3, 4 and 5"
_DEFAULT, _PROBE = GallerySettings(), ProbeSettings()


def run(context: Context, settings: GallerySettings = _DEFAULT, probe_settings: ProbeSettings = _PROBE) -> Result:
    """Sheets of the test split, with the probabilities of a probe on one backbone.

    Raises:
        DatasetError: a split lacks real or fake images, or no image file of the test split is there.
        FeatureError: the features are missing or of other images.
    """
    dataset = context.dataset
    backbone = settings.backbone or context.backbones[0]
    features = load_features(dataset, backbone)
    shown = _shown(dataset, features.valid)
    fitted = probe.fit_probe(dataset, features, probe_settings, seed=context.seed)
    p = np.full(len(dataset), np.nan)
    p[shown] = expit(fitted.scores(features.values[shown]))
    context.progress("gallery", 1, 1)
    return Result(
        experiment="gallery",
        title=TITLE,
        paper=PAPER,
        summary="Clusters side by side; the children that the probe finds most and least realistic; its mistakes.",
        settings={"backbone": backbone, "seed": context.seed, "C": fitted.c},
        sheets=_sheets(dataset, shown, p, settings),
        dataset=base.about(dataset),
        sources=(base.source(features),),
        versions=base.versions(),
    )


def check(context: Context, probe_settings: ProbeSettings = _PROBE) -> None:
    """Raise DatasetError if there is nothing to show, or to train a probe on, even if all images have features."""
    _shown(context.dataset, base.everyone(context.dataset))
    probe.check(context, probe_settings)


def _shown(dataset: Dataset, valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of the test split whose files are there."""
    rows = np.flatnonzero((dataset.column("split") == "test") & valid)
    there = rows[
        np.array([dataset.resolve_path(path).is_file() for path in dataset.column("path")[rows]], dtype=np.bool_)
    ]
    if not len(there):
        raise DatasetError(f"{dataset.path}: the image files of the test split are not there")
    return there


def _sheets(
    dataset: Dataset, rows: NDArray[np.int64], p: NDArray[np.float64], settings: GallerySettings
) -> tuple[Sheet, ...]:
    """Clusters (Figure 3), children by realism (Figure 4), and what is called wrongly (Figure 5).

    No picture is on two strips of a sheet.
    """
    ordered = rows[np.argsort(p[rows], kind="stable")]  # the most real first
    fake = dataset.labels[ordered] == 1
    called = p[ordered] > 0.5
    limit = settings.pictures

    def sheet(key: str, title: str, kinds: dict[str, NDArray[np.int64]]) -> Sheet:
        strips = [
            Strip(title=name, pictures=tuple(_picture(dataset, i, p[i]) for i in some[:limit].tolist()))
            for name, some in kinds.items()
            if len(some)
        ]
        return Sheet(key=key, title=title, strips=tuple(strips))

    children = ordered[fake]
    half = (len(children) + 1) // 2
    realism = {"Most realistic": children[:half], "Least realistic": children[half:][::-1]}
    wrong = {
        "Real, called fake: the surest first": ordered[~fake & called][::-1][:limit],
        "Fake, called real: the surest first": ordered[fake & ~called][:limit],
    }
    left = np.setdiff1d(rows, np.concatenate(list(wrong.values())))
    wrong["Least sure"] = left[np.argsort(np.abs(p[left] - 0.5), kind="stable")]
    clusters = Sheet(key="clusters", title="Clusters", strips=tuple(_clusters(dataset, rows, p, settings.clusters)))
    sheets = (
        clusters,
        sheet("realism", "Children, by the probe's eye", realism),
        sheet("verdicts", "Misclassified images, and those that the probe is least sure of", wrong),
    )
    return tuple(one for one in sheets if one.strips)


def _clusters(dataset: Dataset, rows: NDArray[np.int64], p: NDArray[np.float64], limit: int) -> Iterable[Strip]:
    """Clusters with a parent and a child, parent first, in the dataset's order."""
    members: dict[int, list[int]] = {}
    for row in rows.tolist():
        members.setdefault(int(dataset.clusters[row]), []).append(row)
    captions = dict(
        reversed(list(zip(*(dataset.captions[name].to_pylist() for name in ("cluster_id", "caption")), strict=True)))
    )
    both = [some for some in members.values() if len({int(dataset.labels[row]) for row in some}) == 2]
    for some in both[:limit]:
        name = dataset.column("cluster_id")[some[0]]
        ordered = sorted(some, key=lambda row: (dataset.labels[row], row))
        pictures = tuple(_picture(dataset, row, p[row]) for row in ordered)
        yield Strip(title=name, caption=captions.get(name, ""), pictures=pictures)


def _picture(dataset: Dataset, row: int, probability: float) -> Picture:
    path = dataset.resolve_path(dataset.column("path")[row])
    child = bool(dataset.labels[row])
    return Picture(
        path=str(path.absolute()),
        role="child" if child else "parent",
        title=dataset.column("generator")[row] if child else Path(path).name,
        probability=float(probability),
        label="fake" if probability > 0.5 else "real",
    )
