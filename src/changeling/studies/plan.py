"""The plan of a study: its steps, and roughly how long and in how much memory each of them runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from changeling.backbones.registry import ALIASES
from changeling.backbones.text_encoder import TEXT_ENCODERS
from changeling.datasets.dataset import Dataset
from changeling.experiments.base import ENCODING_MEMORY, GIB, MIB, Context, Experiment, Machine, UnknownDimError
from changeling.features.store import read_feature_dim
from changeling.results.format import format_count
from changeling.studies.runner import (
    check_settings,
    check_study,
    find_missing_text_encoder,
    list_experiments,
    select_backbones,
)
from changeling.studies.settings import Study


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a study.

    Attributes:
        input: what is processed, or why the step is not run.
        memory, disk: bytes. None, as for seconds: unknown before the backbone is loaded.
    """

    name: str
    input: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None


def plan_study(dataset: Dataset, study: Study) -> list[Step]:
    """Return the steps of a study, with their estimated cost on this machine.

    Raises:
        BackboneError, FeatureError, StudyError: as `check_study`.
    """
    missing = check_study(dataset, study)
    context = Context(dataset, select_backbones(dataset, tuple(missing)), study.seed, study.settings, seeds=study.seeds)
    reasons = check_settings(context, study)
    machine = Machine(measure_speed(), _read_dims(dataset, context.backbones))
    steps = [_plan_extraction(dataset, name, missing[name], machine) for name in study.backbones]
    text_encoder = find_missing_text_encoder(dataset, study)
    if text_encoder:
        steps.append(_plan_captions(dataset, text_encoder, machine))
    for experiment in list_experiments(study):
        if experiment.name in reasons:
            steps.append(Step(experiment.name, f"not run: {reasons[experiment.name]}", 0.0, 0.0, 0.0))
        else:
            steps.append(_plan_experiment(context, experiment, machine))
    return steps


def measure_speed() -> float:
    """Return the floating-point operations per second of a float32 matrix product on this machine."""
    matrix = np.ones((1024, 1024), np.float32)
    durations = []
    for _ in range(4):
        start = time.perf_counter()
        matrix @ matrix
        durations.append(time.perf_counter() - start)
    return float(2 * 1024**3 / min(durations))


def print_plan(steps: list[Step]) -> None:
    """Print steps as a table, with totals."""
    table = Table(caption="Times and sizes are estimates for this machine.", caption_justify="left")
    for title in ("step", "input", "time", "memory", "disk"):
        table.add_column(title, justify="left" if title in ("step", "input") else "right")
    for step in steps:
        table.add_row(
            step.name, step.input, _format_time(step.seconds), _format_size(step.memory), _format_size(step.disk)
        )
    table.add_section()
    prefix = "at least " if any(step.seconds is None for step in steps) else ""
    seconds = sum(step.seconds or 0 for step in steps)
    memory = max((step.memory or 0 for step in steps), default=0)
    disk = sum(step.disk or 0 for step in steps)
    totals = (_format_time(seconds), _format_size(memory), _format_size(disk))
    table.add_row("total", "", *(prefix + total for total in totals))
    Console(width=max(Console().width, 120)).print(table)  # so that names are not cut off


def _plan_extraction(dataset: Dataset, backbone: str, missing: int, machine: Machine) -> Step:
    name = f"extract {backbone}"
    if not missing:
        return Step(name, "all features exist", 0.0, 0.0, 0.0)
    images = f"{missing:,} of {len(dataset):,} images"
    if backbone not in ALIASES:
        return Step(name, images)
    seconds = machine.estimate_encoding(backbone, missing)
    return Step(name, images, seconds, ENCODING_MEMORY, missing * ALIASES[backbone].dim * 4)


def _plan_captions(dataset: Dataset, text_encoder: str, machine: Machine) -> Step:
    count = dataset.captions.num_rows
    seconds = machine.estimate_caption_encoding(text_encoder, count)
    captions = format_count(count, "caption", "captions")
    return Step(f"extract {text_encoder}", captions, seconds, 0.5 * GIB, count * TEXT_ENCODERS[text_encoder].dim * 4)


def _plan_experiment(context: Context, experiment: Experiment[Any], machine: Machine) -> Step:
    backbones = format_count(len(context.backbones), "backbone", "backbones")
    try:
        cost = experiment.cost(context, context.get_settings(experiment), machine)
    except UnknownDimError:
        return Step(experiment.name, backbones)
    return Step(experiment.name, cost.input or backbones, cost.seconds, cost.memory, cost.disk)


def _read_dims(dataset: Dataset, backbones: Sequence[str]) -> dict[str, int]:
    """Return the length of the features of the backbones for which it is known without loading them."""
    dims = {}
    for backbone in backbones:
        dim = read_feature_dim(dataset, backbone)
        if dim is None and backbone in ALIASES:
            dim = ALIASES[backbone].dim
        if dim is not None:
            dims[backbone] = dim
    return dims


def _format_time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _format_size(size: float | None) -> str:
    if size is None:
        return "?"
    return f"{size / GIB:.1f} GiB" if size >= 0.1 * GIB else f"{size / MIB:.1f} MiB"
