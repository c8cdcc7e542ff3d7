"""How a detector's backbone is run: by the exported graph, or by a compact one where that was measured to be faster.

The choice is made on first use, when the compact graph is made and written to the cache, and again by `changeling
doctor`. It is stored in the cache. Without a choice for this processor, this version of onnxruntime and these weights,
the exported graph runs, so that nothing is measured before a verdict once the cache is filled.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.backbones import registry
from changeling.backbones.compact import (
    COMPACT_SUFFIX,
    has_compact_graph,
    is_compact_graph_cached,
    load_compact_backbone,
)
from changeling.backbones.registry import Backbone
from changeling.config import cache_dir
from changeling.detect.model import TrainedModel
from changeling.detect.processor import read_processor
from changeling.detect.runtime_names import Runtime
from changeling.errors import BackboneError
from changeling.files import atomic_write
from changeling.images.decode import read_image
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

LOADERS: dict[Runtime, Callable[[str, Progress], Backbone]] = {
    Runtime.EXACT: registry.load_backbone,
    Runtime.COMPACT: load_compact_backbone,
}
CHOICE_FILE = "runtime.json"  # in the cache
MAX_DIFFERENCE = 1e-5  # of a probability from that of the exported graph
MIN_SPEED = 1.05  # of a runtime that is chosen, in images per second of the exported graph
ROUNDS = 5
FIRST_ROUNDS = 1  # on first use
_PICTURES = (  # of packages that this one needs
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


class RuntimeChoice(BaseModel):
    """The content of the choice file. It holds for one backbone on one processor with one version of onnxruntime."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    weights: str
    processor: str
    onnxruntime: str
    runtime: Runtime

    @classmethod
    def describe(cls, trained: TrainedModel, runtime: Runtime) -> RuntimeChoice:
        """Return the choice of a runtime for a detector on this machine."""
        model, version = trained.model, importlib.metadata.version("onnxruntime")
        return cls(
            backbone=model.backbone,
            weights=model.weights,
            processor=read_processor().name,
            onnxruntime=version,
            runtime=runtime,
        )

    def save(self) -> Path:
        """Write the choice to the cache, and return the file."""
        path = cache_dir() / CHOICE_FILE
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
        BackboneError: the backbone does not have this runtime.
        WeightsError: the weights cannot be fetched.
    """
    if runtime == Runtime.AUTO:
        runtime = read_choice(trained) or _choose_on_first_use(trained, progress)
    return LOADERS[runtime](trained.model.backbone, progress)


def list_runtimes(backbone: str) -> list[Runtime]:
    """Return the runtimes that a backbone has, by its name; the exported graph comes first."""
    return [Runtime.EXACT, Runtime.COMPACT] if has_compact_graph(backbone) else [Runtime.EXACT]


def find_runtime(backbone: Backbone) -> Runtime:
    """Return the runtime that a backbone was loaded with."""
    return Runtime.COMPACT if backbone.weights.endswith(COMPACT_SUFFIX) else Runtime.EXACT


def read_choice(trained: TrainedModel) -> Runtime | None:
    """Return the runtime that was chosen for a detector on this machine; None if none was."""
    try:
        choice = RuntimeChoice.model_validate_json((cache_dir() / CHOICE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    is_valid = choice.runtime in LOADERS and choice == RuntimeChoice.describe(trained, choice.runtime)
    return choice.runtime if is_valid else None


def _choose_on_first_use(trained: TrainedModel, progress: Progress) -> Runtime:
    """Choose a runtime and keep the choice if the compact graph is not in the cache yet; otherwise return `exact`.

    Later, a choice that does not hold any more is made again by `changeling doctor` only.
    """
    name, folder = trained.model.backbone, cache_dir()
    is_first_use = has_compact_graph(name) and not is_compact_graph_cached(name)
    if not is_first_use or (folder.exists() and not os.access(folder, os.W_OK)):
        return Runtime.EXACT
    try:
        LOADERS[Runtime.COMPACT](name, progress)  # makes the graph, while no other one takes memory
        runtime = choose_runtime(measure_runtimes(trained, silent, FIRST_ROUNDS))
    except BackboneError:  # no compact graph can be made of these weights
        runtime = Runtime.EXACT
    RuntimeChoice.describe(trained, runtime).save()
    return runtime


def measure_runtimes(trained: TrainedModel, progress: Progress, rounds: int = ROUNDS) -> list[MeasuredRuntime]:
    """Run each runtime in turn on a few pictures of installed packages and on noise; the exported graph comes first.

    Raises:
        BackboneError: the compact graph cannot be made.
        ModelError: the detector was trained on other weights.
        WeightsError: the weights cannot be fetched.
    """
    names = list_runtimes(trained.model.backbone)
    backbones = {runtime: LOADERS[runtime](trained.model.backbone, progress) for runtime in names}
    for backbone in backbones.values():
        trained.check_backbone(backbone)
    pixels = load_pictures(backbones[Runtime.EXACT].preprocessing)
    probabilities = {
        runtime: trained.predict_probabilities(backbone.encode(pixels)) for runtime, backbone in backbones.items()
    }
    seconds: dict[Runtime, list[float]] = {runtime: [] for runtime in names}
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
        for runtime in names
    ]


def choose_runtime(measured: Sequence[MeasuredRuntime]) -> Runtime:
    """Return the fastest runtime that agrees with the exported graph, or `exact` if none is clearly faster."""
    suitable = [one for one in measured if one.difference <= MAX_DIFFERENCE and one.speed >= MIN_SPEED]
    return max(suitable, key=lambda one: one.speed).runtime if suitable else Runtime.EXACT


def explain_choice(measured: Sequence[MeasuredRuntime]) -> str:
    """Return why `choose_runtime` chooses what it does, as a clause."""
    others = [one for one in measured if one.runtime != Runtime.EXACT]
    if not others:
        return "this backbone has no other runtime"
    chosen = choose_runtime(measured)
    reasons = []
    for one in others:
        if not one.difference <= MAX_DIFFERENCE:
            reasons.append(f"{one.runtime} changes a probability by {one.difference:.1e}, more than {MAX_DIFFERENCE:g}")
        elif one.speed < MIN_SPEED:
            reasons.append(f"{one.runtime} is {one.speed:.2f} times as fast, less than {MIN_SPEED:g}")
        elif one.runtime == chosen:
            reasons.append(f"{one.speed:.2f} times as fast, and no probability changes by more than {MAX_DIFFERENCE:g}")
    return "; ".join(reasons)


def load_pictures(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the preprocessed pixels (N, 3, H, W) of the pictures that are installed, and of noise."""
    pixels = []
    for package, name in _PICTURES:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / name if spec and spec.origin else None
        if path and path.is_file():
            pixels.append(preprocessing(read_image(path).image))
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return np.stack([*pixels, preprocessing(Image.fromarray(noise))])
