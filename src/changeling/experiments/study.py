"""A study: a set of experiments over a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from changeling.clusters.manifest import Dataset
from changeling.errors import FeatureError
from changeling.experiments import distances, gallery, probe
from changeling.experiments.result import Result
from changeling.features.store import available
from changeling.progress import Progress, silent


class Experiment(Protocol):
    """Features in, one Result out."""

    def __call__(
        self, dataset: Dataset, backbones: Sequence[str], *, seed: int = 0, progress: Progress = silent
    ) -> Result:
        """Run over the features of `backbones`."""


EXPERIMENTS: dict[str, Experiment] = {"distances": distances.run, "probe": probe.run, "gallery": gallery.run}


def run_study(dataset: Dataset, *, seed: int = 0, progress: Progress = silent) -> list[Result]:
    """Run every experiment over every backbone that has features.

    Raises:
        FeatureError: no backbone has features.
        DatasetError: a split lacks what an experiment needs.
    """
    backbones = available(dataset)
    if not backbones:
        raise FeatureError(
            f"{dataset.path} has no features yet; run `changeling extract {dataset.path} --backbone clip-vit-b16`"
        )
    return [run(dataset, backbones, seed=seed, progress=progress) for run in EXPERIMENTS.values()]
