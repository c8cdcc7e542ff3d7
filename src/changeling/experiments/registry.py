"""The table of experiments. To add one, write its module and add it here: plan, study file and docs follow."""

from __future__ import annotations

from typing import Any

from changeling.experiments import (
    confounds,
    crossgen,
    disentangle,
    distances,
    embedding,
    gallery,
    probe,
    reencoded,
    retrieval,
    robustness,
)
from changeling.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment[Any]] = {  # in the order in which they run: the paper's, then ours
    experiment.name: experiment
    for experiment in (
        distances.EXPERIMENT,
        probe.EXPERIMENT,
        retrieval.EXPERIMENT,
        disentangle.EXPERIMENT,
        embedding.EXPERIMENT,
        gallery.EXPERIMENT,
        confounds.EXPERIMENT,
        crossgen.EXPERIMENT,
        reencoded.EXPERIMENT,
        robustness.EXPERIMENT,
    )
}
