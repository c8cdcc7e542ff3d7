"""What a build costs beside its model, and whether memory grows with the number of images.

    python benchmarks/build.py [--children 1000 10000 100000]

A generator that paints 64 x 64 pixels without a network stands in the model's place; the rest is what `build` and
`extract` run. Each size is measured in a process of its own: printed are, for a build, the milliseconds a child beside
the painting and the bare encoding of its file, and the peak memory; for an extraction with a backbone of one layer, the
milliseconds an image, their ratio to decoding, preprocessing and encoding one image after another, and the peak memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tests import helpers

from changeling.backbones.registry import Backbone
from changeling.build.children import draw_and_write_parts
from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.parts import PARENTS
from changeling.build.settings import BuildSettings
from changeling.build.write import join_dataset, write_parents
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.features.extract import extract
from changeling.generators.base import Child
from changeling.generators.settings import GeneratorSettings
from changeling.images.decode import read_file

CAPTIONS, SIDE = 5, 64


class Painter:
    """A generator that needs no network: noise from the child's seed, the same for a given seed."""

    def __init__(self) -> None:
        self.record: dict[str, object] = {"painter": SIDE}
        self.device = "none"
        self.seconds = 0.0

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Paint a smooth picture for each seed."""
        began = time.perf_counter()
        made: list[Image.Image | None] = []
        for _, seed in zip(children, seeds, strict=True):
            few = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            made.append(Image.fromarray(few).resize((SIDE, SIDE)))
        self.seconds += time.perf_counter() - began
        return made


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--children", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    for children in parser.parse_args().children:
        with tempfile.TemporaryDirectory() as folder:
            parents(Path(folder), children // CAPTIONS)
            for step in ("build", "extract"):
                script = f"import benchmarks.build as b; b.measure_{step}({folder!r}, {children})"
                subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


def parents(folder: Path, count: int) -> None:
    """Parents in JPEG, of 200 different pictures."""
    (folder / "parents").mkdir()
    splits: tuple[Split, ...] = ("train", "val", "test")
    for number in range(200):
        helpers.natural(number, SIDE).save(folder / "parents" / f"{number}.jpg", quality=90)
    images = [ImageRow(f"p{i}", f"c{i}", "parent", f"{i % 200}.jpg", splits[i % 3]) for i in range(count)]
    captions = [CaptionRow(f"c{i}", j, f"scene {i}, said {j}") for i in range(count) for j in range(CAPTIONS)]
    write_dataset(folder / "parents", images, captions)
    helpers.tiny_onnx(folder / "tiny.onnx")


def measure_build(folder: str, children: int) -> None:
    """Build, and print what a child costs beside painting and encoding."""
    root = Path(folder)
    settings = {"painter": GeneratorSettings(model="none")}
    build = Build(Parents(Dataset(root / "parents")), root / "fakes", settings, BuildSettings(), 0, root)
    painter = Painter()
    write_parents(build, build.parts(PARENTS).indices)
    began = time.perf_counter()
    draw_and_write_parts(build, "painter", painter, build.parts("painter").missing)
    seconds = time.perf_counter() - began
    join_dataset(build)
    encoding = bare_encoding(build, painter)
    beside = (seconds - painter.seconds) / children - encoding
    print(
        f"build   {children:7,} children  {1e3 * seconds / children:5.2f} ms a child, of which {1e3 * encoding:5.2f} "
        f"encoding and {1e3 * beside:5.2f} beside the model and it  {peak():5.0f} MiB",
        flush=True,
    )


def bare_encoding(build: Build, painter: Painter) -> float:
    """Seconds that it takes to turn a child into the bytes of its file: the median of some."""
    encoder, times = Encoder(build.settings), []
    for child in build.list_children("painter", 0):
        (image,) = painter.draw([child], [child.seed])
        began = time.perf_counter()
        if image:
            encoder.encode_child(image, child.parent.file)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measure_extract(folder: str, children: int) -> None:
    """Extract features of all images of the build."""
    root = Path(folder)
    dataset = Dataset(root / "fakes")
    backbone = helpers.tiny_backbone(root / "tiny.onnx")
    bare = bare_extraction(dataset, backbone)
    began = time.perf_counter()
    extract(dataset, backbone)
    seconds = (time.perf_counter() - began) / len(dataset)
    print(
        f"extract {children:7,} children  {1e3 * seconds:5.2f} ms an image, {seconds / bare:.2f} times the "
        f"{1e3 * bare:5.2f} ms of one after another  {peak():5.0f} MiB",
        flush=True,
    )


def bare_extraction(dataset: Dataset, backbone: Backbone) -> float:
    """Seconds that it takes to decode, preprocess and encode an image, one after another: the mean of some."""
    paths = [dataset.resolve_path(path) for path in dataset.column("path")[:: -(-len(dataset) // 500)]]
    began = time.perf_counter()
    for path in paths:
        backbone.encode(backbone.preprocessing(backbone.preprocessing.decode(read_file(path)).image)[None])
    return (time.perf_counter() - began) / len(paths)


def peak() -> float:
    """The process's own peak memory, in MiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10


if __name__ == "__main__":
    main()
