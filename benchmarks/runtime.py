"""Measure the speed of the ONNX export of a backbone on a processor, and compare it with PyTorch.

    python benchmarks/runtime.py [ARCH ...]

PyTorch runs open_clip's `encode_image`, eagerly, in single precision, at its best batch size. The export is the file
that `registry.load_backbone` runs where there is no GPU, at the batch size of `changeling extract`. The two take turns,
so that changes of the machine's speed affect both. The weights are random: the speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from changeling.backbones import registry
from changeling.features.extract import BATCH

ROUNDS = 5
IMAGES = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arch", nargs="*", default=["ViT-B-32", "ViT-B-32-quickgelu", "RN50"])
    for arch in parser.parse_args().arch:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CHANGELING_CACHE"] = folder
            measure(arch, Path(folder) / "random.safetensors")


def measure(arch: str, file: Path) -> None:
    """Measure one architecture and print the speeds."""
    model = open_clip.create_model(arch).eval()
    save_file(model.state_dict(), file)
    name = f"open_clip:{arch}/{file}"
    exported = load_and_print_time(name, f"{arch}: loaded and exported")
    load_and_print_time(name, f"{arch}: loaded again")
    side = exported.preprocessing.crop
    pixels = np.random.default_rng(0).normal(size=(IMAGES, 3, side, side)).astype(np.float32)

    def run_pytorch(batch: int) -> None:
        with torch.inference_mode():
            for start in range(0, IMAGES, batch):
                model.encode_image(torch.from_numpy(pixels[start : start + batch]))

    def run_export() -> None:
        for start in range(0, IMAGES, BATCH):
            exported.encode(pixels[start : start + BATCH])

    run_pytorch(16)
    run_export()
    best = max((1, 4, 8, 16), key=lambda batch: measure_rate(lambda: run_pytorch(batch)))
    contenders = {f"eager PyTorch, batch {best}": lambda: run_pytorch(best), f"ONNX export, batch {BATCH}": run_export}
    print_rates(arch, contenders)


def load_and_print_time(name: str, title: str) -> registry.Backbone:
    """Load a backbone by the ONNX runtime and print how long it took."""
    started = time.perf_counter()
    backbone = registry.load_backbone(name, runtime="onnx")
    print(f"{title} in {time.perf_counter() - started:.1f} s")
    return backbone


def print_rates(arch: str, contenders: dict[str, Callable[[], None]]) -> None:
    """Let PyTorch and the export take turns; print their median speeds and the ratio."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            rates[name].append(measure_rate(work))
    for name, measured in rates.items():
        print(f"{arch}: {name:24} {statistics.median(measured):6.2f} images/s")
    ratios = [export / eager for eager, export in zip(*rates.values(), strict=True)]
    print(f"{arch}: export / PyTorch {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def measure_rate(work: Callable[[], object]) -> float:
    """Return images per second."""
    started = time.perf_counter()
    work()
    return IMAGES / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
