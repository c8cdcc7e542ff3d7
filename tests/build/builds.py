"""What these tests build from: captioned parents in many encodings, and generators that draw small and fast."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image

from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.parts import PARENTS
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.generators.base import Child, Generator
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.generators.tiny import SIDE
from tests.hostile import saved

PART_SIZE = 4
CAPTIONS = 3
SPLITS = ("train", "val", "test")


def write_parents(folder: Path) -> Dataset:
    """Import seven parents, each in another encoding and with three captions."""
    photographs = [helpers.natural(seed, side) for seed, side in enumerate((48, 64, 40, 56, 72, 33, 50))]
    rotated = Image.Exif()
    rotated[0x0112] = 6
    files = {
        "0.jpg": saved(photographs[0], "JPEG", quality=90),
        "1.jpg": saved(photographs[1], "JPEG", quality=60, subsampling=0, progressive=True),
        "2.png": saved(photographs[2], "PNG"),
        "3.webp": saved(photographs[3], "WEBP", quality=70),
        "4.jpg": saved(photographs[4].crop((0, 0, 72, 40)), "JPEG", quality=80, exif=rotated),
        "5.jpg": saved(photographs[5].convert("L"), "JPEG", quality=75),
        "6.gif": saved(photographs[6], "GIF"),
    }
    rows = StringIO()
    writer = csv.writer(rows)
    writer.writerow(("file", "role", "group", "split", "source", "captions"))
    (folder / "photographs").mkdir(parents=True)
    for number, (name, data) in enumerate(files.items()):
        (folder / "photographs" / name).write_bytes(data)
        captions = json.dumps([f"scene {number}, said {index}" for index in range(CAPTIONS)])
        writer.writerow((name, "parent", f"c{number}", SPLITS[number % 3], "camera", captions))
    (folder / "photographs" / "list.csv").write_text(rows.getvalue())
    return import_dataset(read_csv(folder / "photographs" / "list.csv"), folder / "coco")


def drawing(model: str = "sd", **settings: Any) -> GeneratorSettings:
    """Settings of a generator with one of the tiny pipelines, small and in one step; or of one that reconstructs."""
    small = {} if settings.get("kind") == "reconstruction" else {"steps": 1, "size": SIDE}
    return GeneratorSettings.model_validate({"model": model} | small | settings)


def make_build(
    parents: Dataset, output: Path, models: Path, generators: dict[str, GeneratorSettings], seed: int = 0, **table: Any
) -> Build:
    """A build of these generators in small parts, with the settings `table` of [build]."""
    settings = BuildSettings.model_validate(table)
    return Build(Parents(parents, settings.clusters), output, generators, settings, seed, models, PART_SIZE)


GENERATORS = {
    "sd": drawing("sd"),
    "picky": drawing("picky", redraws=1),
    "sd: rebuilt": drawing("vae", kind="reconstruction"),
}
COUNTS = {PARENTS: 7, "sd": 7 * CAPTIONS, "picky": 7 * CAPTIONS, "sd: rebuilt": 7}


class CachingGenerator:
    """A generator that draws each child once, and returns the same picture when it is asked again."""

    def __init__(self, generator: Generator) -> None:
        self.record, self.device, self._generator = generator.record, generator.device, generator
        self._drawn: dict[tuple[str, int], list[Image.Image | None]] = {}

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Draw children."""
        if len(children) > 1:
            return self._generator.draw(children, seeds)
        (key,) = ((child.prompt, seed) for child, seed in zip(children, seeds, strict=True))
        if key not in self._drawn:
            self._drawn[key] = self._generator.draw(children, seeds)
        return self._drawn[key]
