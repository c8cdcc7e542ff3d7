"""Figures 1, 3 and 5: clusters side by side, and the probe's surest and least sure calls, as contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
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


def _sheets(dataset: Dataset, rows: np.ndarray[tuple[int], np.dtype[np.int64]], p: np.ndarray) -> tuple[Sheet, ...]:
    pictures = {int(row): _picture(dataset, int(row), float(p[row])) for row in rows}
    wrong = [int(row) for row in rows if (p[row] > 0.5) != bool(dataset.labels[row])]
    margin = sorted((int(row) for row in rows), key=lambda row: (-abs(p[row] - 0.5), row))
    right = [row for row in margin if row not in set(wrong)]
    kinds = {
        "Surest and right: real": [row for row in right if not dataset.labels[row]],
        "Surest and right: fake": [row for row in right if dataset.labels[row]],
        "Surest and wrong: real, called fake": [row for row in margin if row in set(wrong) and not dataset.labels[row]],
        "Surest and wrong: fake, called real": [row for row in margin if row in set(wrong) and dataset.labels[row]],
        "Least sure": margin[::-1],
    }
    strips = [
        Strip(title=title, pictures=tuple(pictures[row] for row in some[:PICTURES])) for title, some in kinds.items()
    ]
    verdicts = Sheet(
        key="verdicts", title="The surest and the least sure calls", strips=tuple(s for s in strips if s.pictures)
    )
    clusters = Sheet(key="clusters", title="Clusters", strips=tuple(_clusters(dataset, pictures)))
    return tuple(sheet for sheet in (clusters, verdicts) if sheet.strips)


def _clusters(dataset: Dataset, pictures: dict[int, Picture]) -> Iterable[Strip]:
    """Clusters with a parent and a child, parent first, in the dataset's order."""
    members: dict[int, list[int]] = {}
    for row in pictures:
        members.setdefault(int(dataset.clusters[row]), []).append(row)
    captions: dict[str, str] = {}
    for cluster, caption in zip(
        *(dataset.captions[name].to_pylist() for name in ("cluster_id", "caption")), strict=True
    ):
        captions.setdefault(cluster, caption)
    names = dataset.column("cluster_id")
    whole = [rows for rows in members.values() if len({int(dataset.labels[row]) for row in rows}) == 2]
    for rows in whole[:CLUSTERS]:
        ordered = sorted(rows, key=lambda row: (dataset.labels[row], row))
        name = names[rows[0]]
        yield Strip(title=name, caption=captions.get(name, ""), pictures=tuple(pictures[row] for row in ordered))


def _picture(dataset: Dataset, row: int, probability: float) -> Picture:
    path = dataset.file(dataset.column("path")[row])
    child = bool(dataset.labels[row])
    return Picture(
        path=str(path.absolute()),
        role="child" if child else "parent",
        title=dataset.column("generator")[row] if child else Path(path).name,
        probability=probability,
        label="fake" if probability > 0.5 else "real",
    )
