"""How a detector's backbone is run: by the exported graph, a compact one with the same features, or a quantized one.

The choice between the first two is made when a backbone is first used, and again by `changeling doctor`. It is stored
in the cache, in a file for each backbone. If it is for another processor or version of onnxruntime, the exported graph
runs, so that nothing is measured before a verdict once a choice is stored. The quantized graph changes probabilities,
so it runs only where it is asked for.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.backbones import registry
from changeling.backbones.compact import (
    COMPACT,
    QUANTIZED,
    has_compact_graph,
    load_compact_backbone,
    load_quantized_backbone,
)
from changeling.backbones.registry import Backbone
from changeling.backbones.sample_pictures import draw_noise, load_pictures
from changeling.config import cache_dir
from changeling.detect.confirmation import ConfirmedBackbone
from changeling.detect.model import TrainedModel
from changeling.detect.processor import read_processor
from changeling.detect.runtime_names import Runtime
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.progress import Progress, silent

LOADERS: dict[Runtime, Callable[[str, Progress], Backbone]] = {
    Runtime.EXACT: registry.load_backbone,
    Runtime.COMPACT: load_compact_backbone,
    Runtime.QUANTIZED: load_quantized_backbone,
}
AUTOMATIC = (Runtime.EXACT, Runtime.COMPACT)  # that may be chosen
MAX_DIFFERENCE = 1e-5  # of a probability from that of the exported graph
MIN_SPEED = 1.05  # of a runtime that is chosen, in images per second of the exported graph
ROUNDS = 5
FIRST_ROUNDS = 1  # on first use


class RuntimeChoice(BaseModel):
    """The content of a choice file. It holds for one backbone on one processor with one version of onnxruntime."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    weights: str
    processor: str
    onnxruntime: str
    runtime: Runtime

    @classmethod
    def describe(cls, trained: TrainedModel, runtime: Runtime) -> RuntimeChoice:
        """Return the choice of a runtime for a detector on this machine."""
        import onnxruntime

        model, providers = trained.model, ", ".join(onnxruntime.get_available_providers())
        return cls(
            backbone=model.backbone,
            weights=model.weights,
            processor=read_processor().name,
            onnxruntime=f"{onnxruntime.__version__} ({providers})",
            runtime=runtime,
        )

    def save(self) -> Path:
        """Write the choice to the cache, and return the file."""
        path = find_choice_file(self.backbone, self.weights)
        with atomic_write(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path


@dataclass(frozen=True, slots=True)
class MeasuredRuntime:
    """A runtime that was measured.

    Attributes:
        seconds: median processor time of an image.
        speed: images per second of processor time, relative to the exported graph in the same run.
        difference: the largest difference of a probability from that of the exported graph.
    """

    runtime: Runtime
    seconds: float
    speed: float
    difference: float


def load_backbone(trained: TrainedModel, runtime: Runtime, progress: Progress) -> Backbone:
    """Load the backbone of a detector with a runtime; `auto` is the choice in the cache, which is made on first use.

    Raises:
        BackboneError: there is no such runtime, or the backbone does not have it.
        WeightsError: the weights cannot be fetched.
    """
    if runtime not in list(Runtime):
        raise BackboneError(f"there is no runtime {str(runtime)!r}; use one of {', '.join(Runtime)}")
    if runtime == Runtime.AUTO:
        runtime = read_choice(trained) or _choose_on_first_use(trained, progress)
    backbone = LOADERS[runtime](trained.model.backbone, progress)
    if runtime == Runtime.QUANTIZED:
        return ConfirmedBackbone(backbone, LOADERS[Runtime.COMPACT](trained.model.backbone, progress), trained)
    return backbone


def list_runtimes(backbone: str) -> list[Runtime]:
    """Return the runtimes that a backbone has, by its name; the exported graph comes first."""
    return [runtime for runtime in LOADERS if runtime == Runtime.EXACT or has_compact_graph(backbone)]


def find_runtime(backbone: Backbone) -> Runtime:
    """Return the runtime that a backbone was loaded with."""
    kinds = {COMPACT.name: Runtime.COMPACT, QUANTIZED.name: Runtime.QUANTIZED}
    return kinds.get(backbone.weights.rpartition("-")[2], Runtime.EXACT)


def find_choice_file(backbone: str, weights: str) -> Path:
    """Return the path of the choice for a backbone in the cache, made or not."""
    identity = hashlib.sha256(f"{backbone} {weights}".encode()).hexdigest()[:16]
    return cache_dir() / f"runtime-{identity}.json"


def read_choice(trained: TrainedModel) -> Runtime | None:
    """Return the runtime that was chosen for a detector on this machine; None if none was."""
    path = find_choice_file(trained.model.backbone, trained.model.weights)
    try:
        choice = RuntimeChoice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    is_valid = choice.runtime in LOADERS and choice == RuntimeChoice.describe(trained, choice.runtime)
    return choice.runtime if is_valid else None


def _choose_on_first_use(trained: TrainedModel, progress: Progress) -> Runtime:
    """Choose a runtime and store the choice if none is stored for this backbone; otherwise return `exact`.

    Later, a choice that does not hold any more is made again by `changeling doctor` only.
    """
    name, folder = trained.model.backbone, cache_dir()
    is_first_use = has_compact_graph(name) and not find_choice_file(name, trained.model.weights).exists()
    if not is_first_use or (folder.exists() and not os.access(folder, os.W_OK)):
        return Runtime.EXACT
    try:
        try:
            LOADERS[Runtime.COMPACT](name, progress)  # makes the graph, while no other one takes memory
            runtime = choose_runtime(measure_runtimes(trained, AUTOMATIC, silent, FIRST_ROUNDS))
        except BackboneError:  # no compact graph can be made of these weights
            runtime = Runtime.EXACT
        RuntimeChoice.describe(trained, runtime).save()
    except OSError:  # the disk is full: the exported graph is there
        return Runtime.EXACT
    return runtime


def measure_runtimes(
    trained: TrainedModel, runtimes: Sequence[Runtime], progress: Progress, rounds: int = ROUNDS
) -> list[MeasuredRuntime]:
    """Run runtimes in turn, of which the first is `exact`, on a few pictures of installed packages and on noise.

    Raises:
        BackboneError: the compact graph cannot be made.
        ModelError: the detector was trained on other weights.
        WeightsError: the weights cannot be fetched.
    """
    backbones = {runtime: load_backbone(trained, runtime, progress) for runtime in runtimes}
    for backbone in backbones.values():
        trained.check_backbone(backbone)
    preprocessing = backbones[Runtime.EXACT].preprocessing
    pixels = np.stack([*load_pictures(preprocessing), draw_noise(preprocessing)])
    probabilities = {
        runtime: trained.predict_probabilities(backbone.encode(pixels)) for runtime, backbone in backbones.items()
    }
    seconds: dict[Runtime, list[float]] = {runtime: [] for runtime in runtimes}
    for done in range(1, rounds + 1):
        for runtime, backbone in backbones.items():
            started = time.process_time()
            backbone.encode(pixels)
            seconds[runtime].append((time.process_time() - started) / len(pixels))
        progress("measuring", done, rounds)
    return [
        MeasuredRuntime(
            runtime,
            statistics.median(seconds[runtime]),
            statistics.median(a / b for a, b in zip(seconds[Runtime.EXACT], seconds[runtime], strict=True)),
            float(np.abs(probabilities[runtime] - probabilities[Runtime.EXACT]).max()),
        )
        for runtime in runtimes
    ]


def choose_runtime(measured: Sequence[MeasuredRuntime]) -> Runtime:
    """Return the fastest runtime that agrees with the exported graph, or `exact` if none is clearly faster."""
    candidates = [one for one in measured if one.runtime in AUTOMATIC]
    suitable = [one for one in candidates if one.difference <= MAX_DIFFERENCE and one.speed >= MIN_SPEED]
    return max(suitable, key=lambda one: one.speed).runtime if suitable else Runtime.EXACT


def explain_choice(measured: Sequence[MeasuredRuntime]) -> str:
    """Return why `choose_runtime` chooses what it does, as a clause."""
    others = [one for one in measured if one.runtime != Runtime.EXACT]
    if not others:
        return "this backbone has no other runtime"
    chosen = choose_runtime(measured)
    reasons = []
    for one in others:
        if one.runtime not in AUTOMATIC:
            reasons.append(f"{one.runtime} changes probabilities, so it runs only if it is asked for")
        elif not one.difference <= MAX_DIFFERENCE:
            reasons.append(f"{one.runtime} changes a probability by {one.difference:.1e}, more than {MAX_DIFFERENCE:g}")
        elif one.speed < MIN_SPEED:
            reasons.append(f"{one.runtime} is {one.speed:.2f} times as fast, less than {MIN_SPEED:g}")
        elif one.runtime == chosen:
            reasons.append(f"{one.speed:.2f} times as fast, and no probability changes by more than {MAX_DIFFERENCE:g}")
    return "; ".join(reasons)
