"""What these tests build from: captioned parents in many forms, and generators that draw small and fast."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image

from changeling.build.children import Parents
from changeling.build.job import Build
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.generators.tiny import SIDE
from tests.hostile import saved

PART_SIZE = 4
CAPTIONS = 3
SPLITS = ("train", "val", "test")


def write_parents(folder: Path) -> Dataset:
    """Import seven parents, each in another form and with three captions."""
    photograph = [helpers.natural(seed, side) for seed, side in enumerate((48, 64, 40, 56, 72, 33, 50))]
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "0.jpg": saved(photograph[0], "JPEG", quality=90),
        "1.jpg": saved(photograph[1], "JPEG", quality=60, subsampling=0, progressive=True),
        "2.png": saved(photograph[2], "PNG"),
        "3.webp": saved(photograph[3], "WEBP", quality=70),
        "4.jpg": saved(photograph[4].crop((0, 0, 72, 40)), "JPEG", quality=80, exif=turned),
        "5.jpg": saved(photograph[5].convert("L"), "JPEG", quality=75),
        "6.gif": saved(photograph[6], "GIF"),
    }
    listed = StringIO()
    writer = csv.writer(listed)
    writer.writerow(("file", "role", "group", "split", "source", "captions"))
    (folder / "photographs").mkdir(parents=True)
    for number, (name, data) in enumerate(files.items()):
        (folder / "photographs" / name).write_bytes(data)
        said = json.dumps([f"scene {number}, said {index}" for index in range(CAPTIONS)])
        writer.writerow((name, "parent", f"c{number}", SPLITS[number % 3], "camera", said))
    (folder / "photographs" / "list.csv").write_text(listed.getvalue())
    return import_dataset(read_csv(folder / "photographs" / "list.csv"), folder / "coco")


def drawing(model: str = "sd", **more: Any) -> GeneratorSettings:
    """A generator that draws with one of the tiny pipelines, small and in one step; or one that reconstructs."""
    small = {} if more.get("kind") == "reconstruction" else {"steps": 1, "size": SIDE}
    return GeneratorSettings.model_validate({"model": model} | small | more)


def make_build(
    parents: Dataset, output: Path, models: Path, generators: dict[str, GeneratorSettings], seed: int = 0, **more: Any
) -> Build:
    """A build of these generators in small parts, `more` being of its [build] table."""
    settings = BuildSettings.model_validate(more)
    return Build(Parents(parents, settings.clusters), output, generators, settings, seed, models, PART_SIZE)
