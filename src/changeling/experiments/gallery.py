"""Figures 1, 3 and 5: clusters side by side, and the probe's surest and least sure calls, as contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from changeling.clusters.manifest import Dataset
from changeling.experiments import common
from changeling.experiments.probe import fit_probe
from changeling.experiments.result import Picture, Result, Sheet, Strip
from changeling.features.store import load_features
from changeling.progress import Progress, silent

CLUSTERS = 12  # clusters on a sheet
PICTURES = 10  # pictures in a strip of verdicts


def run(dataset: Dataset, backbones: Sequence[str], *, seed: int = 0, progress: Progress = silent) -> Result:
    """Sheets of the test split, with the probabilities of a probe on the first backbone.

    Raises:
        DatasetError: a split lacks real or fake images.
        FeatureError: the features are missing or of other images.
    """
    features = load_features(dataset, backbones[0])
    shown = (dataset.column("split") == "test") & features.valid
    shown &= np.array([dataset.file(path).is_file() for path in dataset.column("path")])
    settings: dict[str, str | int | float | bool | None] = {"backbone": backbones[0], "seed": seed}
    sheets: tuple[Sheet, ...] = ()
    if shown.any():
        probe = fit_probe(dataset, features, seed=seed)
        settings["C"] = probe.c
        sheets = _sheets(dataset, np.flatnonzero(shown), expit(probe.scores(features.values)))
    progress("gallery", 1, 1)
    return Result(
        experiment="gallery",
        title="What it looks like",
        paper="Figures 1, 3 and 5",
        summary="Clusters side by side, and the calls of a linear probe that are surest and least sure."
        if sheets
        else "The test split's image files are not here, so nothing can be shown.",
        settings=settings,
        sheets=sheets,
        dataset=common.about(dataset),
        sources=common.sources([features]),
        versions=common.versions(),
    )


def _sheets(dataset: Dataset, rows: NDArray[np.int64], p: NDArray[np.float64]) -> tuple[Sheet, ...]:
    """Clusters, and the calls that are surest and least sure, of some rows."""
    surest = rows[np.argsort(-np.abs(p[rows] - 0.5), kind="stable")]
    fake = dataset.labels[surest] == 1
    right = (p[surest] > 0.5) == fake
    kinds = {
        "Surest and right: real": surest[right & ~fake],
        "Surest and right: fake": surest[right & fake],
        "Surest and wrong: real, called fake": surest[~right & ~fake],
        "Surest and wrong: fake, called real": surest[~right & fake],
        "Least sure": surest[::-1],
    }
    strips = [
        Strip(title=title, pictures=tuple(_picture(dataset, row, p[row]) for row in some[:PICTURES].tolist()))
        for title, some in kinds.items()
        if len(some)
    ]
    verdicts = Sheet(key="verdicts", title="The surest and the least sure calls", strips=tuple(strips))
    clusters = Sheet(key="clusters", title="Clusters", strips=tuple(_clusters(dataset, rows, p)))
    return tuple(sheet for sheet in (clusters, verdicts) if sheet.strips)


def _clusters(dataset: Dataset, rows: NDArray[np.int64], p: NDArray[np.float64]) -> Iterable[Strip]:
    """Clusters with a parent and a child, parent first, in the dataset's order."""
    members: dict[int, list[int]] = {}
    for row in rows.tolist():
        members.setdefault(int(dataset.clusters[row]), []).append(row)
    captions = dict(
        reversed(list(zip(*(dataset.captions[name].to_pylist() for name in ("cluster_id", "caption")), strict=True)))
    )
    both = [some for some in members.values() if len({int(dataset.labels[row]) for row in some}) == 2]
    for some in both[:CLUSTERS]:
        name = dataset.column("cluster_id")[some[0]]
        ordered = sorted(some, key=lambda row: (dataset.labels[row], row))
        pictures = tuple(_picture(dataset, row, p[row]) for row in ordered)
        yield Strip(title=name, caption=captions.get(name, ""), pictures=pictures)


def _picture(dataset: Dataset, row: int, probability: float) -> Picture:
    path = dataset.file(dataset.column("path")[row])
    child = bool(dataset.labels[row])
    return Picture(
        path=str(path.absolute()),
        role="child" if child else "parent",
        title=dataset.column("generator")[row] if child else Path(path).name,
        probability=float(probability),
        label="fake" if probability > 0.5 else "real",
    )
