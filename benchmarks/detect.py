"""Measure the speed of `detect`, and compare it with the bare encoder and with the detector of another package.

    python benchmarks/detect.py FOLDER [--images 96] [--rounds 5] [--peer]

FOLDER contains images. The contenders take turns, so that changes of the machine's speed affect all of them: the bare
encoder on preprocessed tensors, exact (at its best batch size) and compact; `Detector.detect` on the files with each
runtime; and with `--peer` the detector of `sahu65==1.1.0`, which must be installed. The benchmark prints how much the
verdicts of the runtimes differ; the median images per second and their ratios, by the clock and in processor time
(all threads together: for a machine that does other work, too); then for each runtime the time from the start of a
process to its first verdict, step by step, beside imports and one pass through the encoder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice

import numpy as np

from changeling.backbones.registry import Backbone
from changeling.detect.detector import Detector
from changeling.detect.inputs import find_images
from changeling.detect.runtime_names import Runtime
from changeling.detect.runtimes import LOADERS
from changeling.images.decode import read_file

ROUNDS = 5
Contenders = dict[str, Callable[[], object]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    paths = list(islice(find_images([arguments.folder], sys.stdin.buffer), arguments.images))
    detectors = {runtime: Detector.load(runtime=runtime) for runtime in LOADERS}
    for runtime in (Runtime.COMPACT, Runtime.QUANTIZED):
        print_agreement(detectors[Runtime.EXACT], detectors[runtime], paths)
    contenders = make_contenders(detectors, paths)
    if arguments.peer:
        import sahu65  # type: ignore[import-not-found, unused-ignore]

        contenders["peer"] = lambda: [sahu65.detect(path) for path in paths]
    print_rates(contenders, len(paths), arguments.rounds)
    for detector in detectors.values():
        print_start_times(detector, paths[0])


def make_contenders(detectors: dict[Runtime, Detector], paths: list[str]) -> Contenders:
    """Return what is compared, by name; the bare encoder is the first."""
    exact, compact = detectors[Runtime.EXACT], detectors[Runtime.COMPACT]
    preprocessing = exact.backbone.preprocessing
    pixels = np.stack([preprocessing(preprocessing.decode(read_file(path)).image) for path in paths])
    tried = pixels[:16]
    best = min((1, 2, 4, 8, 16), key=lambda size: measure(lambda: encode_all(exact.backbone, tried, size))[1])
    contenders: Contenders = {
        f"bare encoder, batch {best}": lambda: encode_all(exact.backbone, pixels, best),
        "compact encoder": lambda: compact.backbone.encode(pixels),
    }
    for runtime, detector in detectors.items():
        contenders[f"detect --runtime {runtime}"] = partial(detect_all, detector, paths)
    return contenders


def encode_all(backbone: Backbone, pixels: np.ndarray, size: int) -> None:
    """Run the encoder alone, in batches."""
    for start in range(0, len(pixels), size):
        backbone.encode(pixels[start : start + size])


def detect_all(detector: Detector, paths: list[str]) -> None:
    """Detect all images."""
    list(detector.detect(paths))


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of the processor."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def print_rates(contenders: Contenders, images: int, rounds: int) -> None:
    """Print the median speed of each contender, and its ratio to the first one, by both clocks."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            seconds[name].append(measure(work))
    first, *others = contenders
    for clock, title in enumerate(("by the clock", "of processor time")):
        for name in contenders:
            print(f"{name:28} {images / statistics.median(one[clock] for one in seconds[name]):6.2f} images/s {title}")
        for name in others:
            ratios = [b[clock] / a[clock] for a, b in zip(seconds[name], seconds[first], strict=True)]
            limits = f"{min(ratios):.3f} to {max(ratios):.3f}"
            print(f"{name} / {first}, {title}: {statistics.median(ratios):.3f} ({limits})")


def print_agreement(exact: Detector, faster: Detector, paths: list[str]) -> None:
    """Print how much the verdicts of two runtimes differ."""
    pairs = list(zip(exact.detect(paths), faster.detect(paths), strict=True))
    changed = sum(one.label != other.label for one, other in pairs)
    differences = [
        abs(one.probability - other.probability)
        for one, other in pairs
        if one.probability is not None and other.probability is not None
    ]
    largest = max(differences)
    print(f"{faster.runtime} changes {changed} of {len(pairs)} labels, and probabilities by {largest:.1e} at most")


def print_start_times(detector: Detector, path: str) -> None:
    """Print the seconds from the start of a process to its first verdict, and to the steps before it."""
    load = f"from changeling.detect.detector import Detector; d = Detector.load(runtime={detector.runtime.value!r})"
    python = [sys.executable, "-c"]
    steps = {
        "python -c pass": [*python, "pass"],
        "+ imports": [*python, "import changeling.detect.detector, onnxruntime"],
        "+ loading the detector": [*python, load],
        "+ one verdict": [*python, f"{load}; list(d.detect([{path!r}]))"],
        "changeling detect, one file": [
            *[sys.executable, "-m", "changeling", "detect", path],
            *["--runtime", detector.runtime],
        ],
    }
    pixels = np.zeros((1, 3, *[detector.backbone.preprocessing.crop] * 2), np.float32)
    seconds = {"one pass": measure_median(lambda: detector.backbone.encode(pixels))}
    for name, words in steps.items():
        seconds[name] = measure_median(partial(subprocess.run, words, check=True, capture_output=True))
    print(f"{detector.runtime}: {'one pass of the encoder':28} {seconds['one pass']:6.2f} s")
    for name in steps:
        print(f"{detector.runtime}: {name:28} {seconds[name]:6.2f} s from the start of the process")
    for name in list(steps)[-2:]:
        ratio = seconds[name] / (seconds["+ imports"] + seconds["one pass"])
        print(f"{detector.runtime}: {name} / (imports + one pass): {ratio:.2f}")


def measure_median(work: Callable[[], object]) -> float:
    """Return the median seconds by the clock."""
    return statistics.median(measure(work)[0] for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
