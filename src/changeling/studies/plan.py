"""What a study would do, on what, and roughly how long it takes, before it is run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from changeling.backbones.registry import ALIASES
from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import base, confounds
from changeling.experiments.base import Context
from changeling.experiments.disentangle import CURVE_IMAGES
from changeling.experiments.probe import trainers
from changeling.experiments.projections import trainable
from changeling.experiments.settings import NAMES, Name
from changeling.features.store import missing_rows, part_path, part_rows, read_dim
from changeling.studies.runner import EXPERIMENTS, chosen_backbones, reason
from changeling.studies.settings import Study

GIGA, GIB, MIB = 1e9, 2**30, 2**20
ENCODER = 0.6  # of the speed of a bare matrix product, in the middle of what benchmarks/runtime.py measures


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a study. None: not known before the backbone is loaded."""

    what: str
    on: str
    seconds: float | None
    memory: float | None  # bytes
    disk: float | None  # bytes


def plan(dataset: Dataset, study: Study) -> list[Step]:
    """The steps of a study, with rough costs scaled to the speed of this machine.

    Raises:
        BackboneError, FeatureError, StudyError: as `run_study` does.
    """
    backbones = chosen_backbones(dataset, study)
    speed = product_speed()
    steps = [_extract(dataset, name, speed) for name in study.backbones]
    dims = {name: _dim(dataset, name) for name in backbones}
    for name in NAMES:
        if name in study.experiments:
            refused = _refused(Context(dataset, backbones, study.seed), study, name)
            steps.append(refused or _experiment(dataset, study, name, dims, speed))
    return steps


def _refused(context: Context, study: Study, name: Name) -> Step | None:
    """The step of an experiment that the dataset lacks something for."""
    dataset = context.dataset
    if name == "retrieval" and dataset.captions.num_rows and any(missing_rows(dataset, b) for b in context.backbones):
        return None  # features that are to be made may be of captions, too
    try:
        EXPERIMENTS[name].check(context, study)
    except DatasetError as error:
        return Step(name, f"not run: {reason(dataset, error)}", 0.0, 0.0, 0.0)
    return None


def product_speed() -> float:
    """Operations a second of a float32 matrix product on this machine."""
    left = np.ones((1024, 1024), np.float32)
    taken = []
    for _ in range(4):
        began = time.perf_counter()
        left @ left
        taken.append(time.perf_counter() - began)
    return float(2 * 1024**3 / min(taken))


def show(steps: list[Step]) -> None:
    """Print steps as a table, with their sums."""
    table = Table(caption="Times and sizes are estimates for this machine.", caption_justify="left")
    for title in ("step", "on", "time", "memory", "disk"):
        table.add_column(title, justify="left" if title in ("step", "on") else "right")
    for step in steps:
        table.add_row(step.what, step.on, _time(step.seconds), _size(step.memory), _size(step.disk))
    table.add_section()
    open_ended = "at least " if any(step.seconds is None for step in steps) else ""
    seconds = sum(step.seconds or 0 for step in steps)
    memory = max((step.memory or 0 for step in steps), default=0)
    disk = sum(step.disk or 0 for step in steps)
    table.add_row("in all", "", open_ended + _time(seconds), open_ended + _size(memory), open_ended + _size(disk))
    Console(width=max(Console().width, 120)).print(table)  # a name that is cut names nothing


def _extract(dataset: Dataset, backbone: str, speed: float) -> Step:
    missing = missing_rows(dataset, backbone)
    on = f"{missing:,} of {len(dataset):,} images" if missing else "features are there"
    if not missing:
        return Step(f"extract {backbone}", on, 0.0, 0.0, 0.0)
    if backbone not in ALIASES:
        return Step(f"extract {backbone}", on, None, None, None)
    alias = ALIASES[backbone]
    seconds = missing * alias.operations * GIGA / (ENCODER * speed)
    return Step(f"extract {backbone}", on, seconds, 1.5 * GIB, missing * alias.dim * 4)


def _experiment(dataset: Dataset, study: Study, name: str, dims: dict[str, int | None], speed: float) -> Step:
    """Rough cost of one experiment, by the counts that its time grows with; see benchmarks/study.py."""
    if name == "confounds":
        return _confounds(dataset, study)
    known = [dim for dim in dims.values() if dim]
    on = f"{len(dims)} backbone{'s' if len(dims) != 1 else ''}"
    if len(known) < len(dims):
        return Step(name, on, None, None, None)
    size = _Size.of(dataset, name)
    if name == "embedding":
        known = known[-1:]
    seconds = 1 + sum(_seconds(name, dim, size, study, speed) for dim in known)
    heads = sum(6 * size.heads * dim**2 * 4 for dim in known) if name == "disentangle" else 0
    copies = 2.0 if name == "disentangle" else 1.5
    memory = 0.3 * GIB + len(dataset) * (max(known) * 4 + 500) * copies + size.captions * max(known) * 4
    return Step(name, on, seconds, memory, heads + MIB)


def _confounds(dataset: Dataset, study: Study) -> Step:
    """Of 60,000 files, half a minute goes into reading, and a minute into trees and intervals."""
    files = len(confounds.chosen(dataset, study.seed))
    return Step("confounds", f"{files:,} image files", 2 + 1.5e-3 * files, 0.3 * GIB + 2e3 * files, MIB)


@dataclass(frozen=True, slots=True)
class _Size:
    """The counts that the time of an experiment grows with."""

    clusters: int
    train: int  # images
    judged: int  # images of the validation and test splits
    captions: int  # if they are looked at
    generators: int
    heads: int  # S and T count as one
    probes: int

    @classmethod
    def of(cls, dataset: Dataset, experiment: str) -> _Size:
        train = dataset.column("split") == "train"
        everyone = base.everyone(dataset)
        return cls(
            clusters=len(set(dataset.clusters.tolist())),
            train=int(train.sum()),
            judged=int((~train).sum()),
            captions=dataset.captions.num_rows if experiment == "retrieval" else 0,
            generators=len(base.generators(dataset)),
            heads=len(trainable(dataset, everyone)) if experiment in ("disentangle", "embedding") else 0,
            probes=1 + len(trainers(dataset)),
        )


def _seconds(experiment: str, dim: int, size: _Size, study: Study, speed: float) -> float:
    """Fitted to what benchmarks/study.py measures."""
    product = dim / speed  # seconds for one number of a product's outcome
    images = size.train + size.judged
    match experiment:
        case "distances":
            return 7e-5 * size.clusters
        case "probe":
            return size.probes * 36_000 * min(size.train, 2 * size.clusters) * product + 5e-5 * size.judged
        case "retrieval":
            gallery = size.captions * size.judged / images / 2
            return 2.6 * size.generators * size.judged * gallery * product + 3e-5 * size.captions
        case "disentangle":
            steps = study.disentangle.epochs * max(size.train / study.disentangle.batch, 1)
            training = 2 * steps * (9 * study.disentangle.batch * dim * product + 3e-3)
            # of few images the curve takes some seconds all the same: its solvers make thousands of small steps
            curve = 8 + 840_000 * min(size.train, CURVE_IMAGES) * product if study.disentangle.curve else 0
            return size.heads * (training + curve + 3)
        case "embedding":
            shown = min(study.embedding.clusters * images / size.clusters, size.judged)
            return 3 * 0.006 * size.heads * shown
    return 0.0


def _dim(dataset: Dataset, backbone: str) -> int | None:
    first = part_path(dataset, backbone, 0)
    if part_rows(len(dataset)) and first.exists():
        return read_dim(first)
    return ALIASES[backbone].dim if backbone in ALIASES else None


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(size: float | None) -> str:
    if size is None:
        return "?"
    return f"{size / GIB:.1f} GiB" if size >= 0.1 * GIB else f"{size / MIB:.1f} MiB"
