"""What tests build: tiny real backbones, datasets of generated images, detectors, processes without privileges."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

import changeling
from changeling.backbones.onnx import OnnxBackbone, write_metadata
from changeling.cli import run_command_line
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.detect.model import Head, ModelInfo, TrainedModel
from changeling.files import LEFTOVER_AGE
from changeling.images.transforms import Preprocessing

PAGE_TIMEOUT = 300_000  # milliseconds for a page of a browser: a loaded machine needs many
SHARED = Path(__file__).parents[2] / "shared" / "data" / "images"  # more photographs, where they exist
SHARED_MODELS = Path(__file__).parents[2] / "shared" / "models"  # weights of autoencoders, where they exist
TINY = Preprocessing(resize=32, crop=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
DIM, SIDE = 16, 32


def tiny_onnx(
    path: Path, *, seed: int = 0, weights: str = "", preprocessing: Preprocessing = TINY, silent: bool = False
) -> Path:
    """Write a backbone like a one-layer vision transformer's stem, with random weights, to `path`.

    Its layers: "proj" 16-d, "pre" 24-d, "blocks" 2 x 24-d. A `silent` one says nothing of itself in its metadata.
    """
    draw = np.random.default_rng(seed)
    tensors = {
        "patch": draw.normal(size=(24, 3, 8, 8)) / 14,
        "bias": draw.normal(size=24) / 4,
        "projection": draw.normal(size=(24, DIM)) / 5,
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "patch", "bias"], ["patches"], strides=[8, 8]),
        helper.make_node("Relu", ["patches"], ["active"]),
        helper.make_node("GlobalAveragePool", ["patches"], ["pooled0"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled1"]),
        helper.make_node("Flatten", ["pooled0"], ["early"]),
        helper.make_node("Flatten", ["pooled1"], ["pre"]),
        helper.make_node("Concat", ["early", "pre"], ["blocks"], axis=1),
        helper.make_node("MatMul", ["pre", "projection"], ["proj"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in (("proj", DIM), ("pre", 24), ("blocks", 48))
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if not silent:
        write_metadata(model, weights=weights or f"tiny-{seed}", preprocessing=preprocessing)
    onnx.save(model, path)
    return path


def tiny_backbone(path: Path, layer: str | None = None) -> OnnxBackbone:
    """Open what `tiny_onnx` wrote, as the registry does."""
    return OnnxBackbone(path, f"onnx:{path}", layer)


def natural(seed: int, side: int = SIDE) -> Image.Image:
    """What stands for a photograph: a gradient between two colours, and noise."""
    draw = np.random.default_rng(seed)
    first, last = draw.integers(60, 196, (2, 3))
    pixels = np.linspace(first, last, side)[:, None] + draw.normal(0, 20, (side, side, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photographs(folder: Path, side: int) -> list[Path]:
    """JPEG files of real photographs: COCO's where they exist, else scikit-learn's two, cut into squares."""
    files = sorted((SHARED / "coco_mini").glob("*.jpg"))
    if files:
        return files
    folder.mkdir(parents=True)
    for number, pixels in enumerate(load_sample_images().images):
        high, wide = (length // side for length in pixels.shape[:2])
        for place in range(high * wide):
            top, left = side * (place // wide), side * (place % wide)
            path = folder / f"{number}-{place:02d}.jpg"
            square = Image.fromarray(pixels[top : top + side, left : left + side])
            square.save(path, quality=70 + (7 * place + number) % 27)
            files.append(path)
    return files


def generated(seed: int, side: int = SIDE) -> Image.Image:
    """What stands for a generated image: the same, with the checkerboard that upsampling leaves."""
    board = (np.indices((side, side)) // 2).sum(axis=0) % 2 * 100 - 50
    pixels = np.asarray(natural(seed, side), dtype=np.int64) + board[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def tiny_dataset(folder: Path, clusters: int = 12) -> Dataset:
    """Make a dataset of real image files: clusters of a parent and two or three children by two generators."""
    images: list[ImageRow] = []
    captions: list[CaptionRow] = []
    (folder / "images").mkdir(parents=True)
    for number in range(clusters):
        cluster = f"c{number:02d}"
        split: Split = ("train", "train", "val", "test")[number % 4]
        captions += [CaptionRow(cluster, index, f"scene {number}, said {index}") for index in range(3)]
        for place in range(3 + number % 2):
            file = f"images/{cluster}-{place}.png"
            (natural if place == 0 else generated)(number).save(folder / file)
            images.append(
                ImageRow(
                    image_id=f"{cluster}-{place}",
                    cluster_id=cluster,
                    role="parent" if place == 0 else "child",
                    path=file,
                    split=split,
                    source="tiny",
                    caption_index=place - 1 if place else None,
                    generator=("alpha", "beta")[place % 2] if place else None,
                    width=SIDE,
                    height=SIDE,
                    format="PNG",
                    sha256=hashlib.sha256((folder / file).read_bytes()).hexdigest(),
                )
            )
    return write_dataset(folder, images, captions)


def tiny_detector(backbone: OnnxBackbone) -> TrainedModel:
    """A detector on a tiny backbone, that looks which of the two kinds of pictures is nearer on average."""
    real, fake = (
        backbone.encode(np.stack([backbone.preprocessing(make(seed)) for seed in range(20)])).mean(axis=0)
        for make in (natural, generated)
    )
    weight = (fake - real) / np.sum((fake - real) ** 2)
    head = Head(weight.astype(np.float32), float(-weight @ (real + fake) / 2))
    model = ModelInfo(
        name="tiny",
        head=head.hash,
        backbone=backbone.name,
        weights=backbone.weights,
        preprocessing=backbone.preprocessing.hash,
        slope=6.0,
        bias=0.0,
        real_below=0.4,
        fake_above=0.6,
        trained_on={"images": 40},
        settings={},
    )
    return TrainedModel(model, head)


def program(name: str, package: str) -> str:
    """The path of a program that no pip installs. Where it is missing, the test is left out; in CI it fails."""
    path = shutil.which(name)
    if path is None:
        missing = f"{name} is missing: install the package {package} (`make system`)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def run_unprivileged(script: str, *arguments: str | bytes) -> str:
    """Run a Python script in a process that file permissions bind, even when the tests are run by root."""

    def give_up() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(
                24, capability, 0, 0, 0
            )  # PR_CAPBSET_DROP; refused to others than root, who need it not

    folders = [Path(changeling.__file__).parents[1], Path(__file__).parents[1]]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        preexec_fn=give_up,
    )
    return done.stdout


def run_changeling(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command of changeling in this process; return its exit code and what it printed."""
    command = [str(argument) for argument in arguments]
    wide_terminal = {"COLUMNS": "250"}  # no path is cut
    with warnings.catch_warnings(), CliRunner().isolation(stdin, wide_terminal) as (stdout, stderr, _):
        with pytest.raises(SystemExit) as exit_info:
            run_command_line(command)
        sys.stdout.flush()
        sys.stderr.flush()
        printed = stdout.getvalue().decode(), stderr.getvalue().decode()
    assert isinstance(exit_info.value.code, int)
    return subprocess.CompletedProcess(command, exit_info.value.code, *printed)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def contents_without_temporary_files(folder: Path) -> dict[str, bytes]:
    """Like `contents`, without what killed processes left under temporary names."""
    return {name: data for name, data in contents(folder).items() if not name.endswith(".tmp")}


def age_temporary_files(folder: Path) -> None:
    """Make the temporary files of killed processes so old that the next run removes them."""
    modified = time.time() - LEFTOVER_AGE - 60
    for path in folder.rglob("*.tmp"):
        os.utime(path, (modified, modified))


def coarse_picture(seed: int) -> Image.Image:
    """A picture with coarse and finer parts, unlike any other: RGB, 320 x 240."""
    coarse, finer = (natural(seed, side).resize((320, 240), Image.Resampling.BICUBIC) for side in (6, 24))
    return Image.blend(coarse, finer, 0.5)


class FileOpens:
    """Counts how often this process opens each file below a folder for reading."""

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._prefix = f"{folder.absolute()}{os.sep}"
        self._is_counting = False
        sys.addaudithook(self._record)

    def _record(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._is_counting and event == "open":
            path, mode = str(arguments[0]), str(arguments[1])
            if path.startswith(self._prefix) and "r" in mode:
                self.counts[path.removeprefix(self._prefix)] += 1

    def __enter__(self) -> FileOpens:
        self._is_counting = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_counting = False
