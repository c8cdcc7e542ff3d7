"""A study: a set of experiments over a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from changeling.clusters.manifest import Dataset
from changeling.errors import DatasetError, FeatureError
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

    An experiment that the dataset lacks something for becomes a Result that says so.

    Raises:
        FeatureError: no backbone has features, or they were made from other images.
    """
    backbones = available(dataset)
    if not backbones:
        raise FeatureError(
            f"{dataset.path} has no features yet; run `changeling extract {dataset.path} --backbone clip-vit-b16`"
        )
    results = []
    for name, run in EXPERIMENTS.items():
        try:
            results.append(run(dataset, backbones, seed=seed, progress=progress))
        except DatasetError as error:
            results.append(Result(experiment=name, title=name.title(), summary=f"Not run: {error}", settings={}))
    return results
