"""How often a verdict changes when a picture is delivered in another way, without and with `detect --stable`.

    python benchmarks/flips.py IMAGES_CSV [--only 'more_*'] [--sample 100] [--model FOLDER] [--scores flips.jsonl]

IMAGES_CSV has the columns `file` (relative to its folder) and `role` (parent = real, child = generated); the folder of
a file is its source. The sample has as many real as generated images, of as many sources as there are. Each picture is
delivered once in a way that is none of the detector's own, by turns, and both are detected twice: by `detect` and by
`detect_stable`. That is 16 passes of the encoder an image: a hundred images take some 20 minutes on one slow core.
The verdicts are appended to the file of `--scores`; a run that is interrupted goes on where it stopped.

Choose sources that the detector was not trained on. The intervals are over sources; the cost is processor time.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich.progress import track

from changeling.detect.detector import Detector
from changeling.images.decode import read_image
from changeling.images.deliveries import DELIVERIES, Delivery, deliver
from changeling.stats.intervals import ratio_interval
from changeling.stats.metrics import Ratio

REDELIVERIES: dict[str, tuple[Delivery, ...]] = {
    "JPEG 70": (Delivery("", quality=70),),
    "WebP 65": (Delivery("", codec="WEBP", quality=65),),
    "0.62 of the size, WebP 70": (
        Delivery("", scale=0.62, resample=Image.Resampling.LANCZOS, codec="WEBP", quality=70),
    ),
    "0.85 of the size, JPEG 66": (Delivery("", scale=0.85, resample=Image.Resampling.LANCZOS, quality=66),),
    "crop to 0.8, JPEG 80": (Delivery("", crop=0.8, quality=80),),
    "JPEG 82, then JPEG 68": (Delivery("", quality=82), Delivery("", quality=68)),
    "WebP 75, then 0.9 of the size, JPEG 78": (
        Delivery("", codec="WEBP", quality=75),
        Delivery("", scale=0.9, resample=Image.Resampling.BILINEAR, quality=78),
    ),
    "0.7 of the size, JPEG 85, then crop to 0.95, WebP 80": (
        Delivery("", scale=0.7, quality=85),
        Delivery("", crop=0.95, codec="WEBP", quality=80),
    ),
}
PLAIN, STABLE = "detect", "detect --stable"


@dataclass(frozen=True, slots=True)
class Sampled:
    """An image of the sample, and the name of its redelivery."""

    file: str
    is_fake: bool
    redelivery: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdicts on an image and on its redelivery, by each method.

    Attributes:
        key: of the detector, its deliveries and the redeliveries: verdicts of others are not read again.
        file, is_fake, redelivery: as in `Sampled`.
        labels: by method: the label, or the status, of the image and of its redelivery.
        seconds: by method: the processor time of detecting the image.
    """

    key: str
    file: str
    is_fake: bool
    redelivery: str
    labels: dict[str, list[str]]
    seconds: dict[str, float]


def main() -> None:
    """Detect what has not been detected yet, and print shares and cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images_csv", type=Path)
    parser.add_argument("--only", default="*", help="the sources, as a pattern of folder names")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--scores", type=Path, default=Path("flips.jsonl"))
    arguments = parser.parse_args()
    sample = draw_sample(arguments.images_csv, arguments.only, arguments.sample, arguments.seed)
    comparisons = compare_all(Detector.load(arguments.model), sample, arguments.images_csv.parent, arguments.scores)
    print_summary(comparisons)


def draw_sample(images_csv: Path, only: str, count: int, seed: int) -> list[Sampled]:
    """Draw as many real as generated images; a source gives its second image when all others have given one."""
    with images_csv.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if fnmatch(Path(row["file"]).parent.name, only)]
    random.Random(seed).shuffle(rows)
    images: list[Sampled] = []
    names = list(REDELIVERIES)
    for role in ("parent", "child"):
        drawn: Counter[Path] = Counter()  # images of each source so far
        turns: list[tuple[int, str]] = []  # when a file's source gives it
        for file_name in (row["file"] for row in rows if row["role"] == role):
            turns.append((drawn[Path(file_name).parent], file_name))
            drawn[Path(file_name).parent] += 1
        turns.sort(key=lambda turn: turn[0])
        for number, (_, file_name) in enumerate(turns[: count // 2]):
            images.append(Sampled(file_name, role == "child", names[number % len(names)]))
    return images


def compare_all(detector: Detector, sample: Sequence[Sampled], folder: Path, scores: Path) -> list[Comparison]:
    """Return the comparisons of a sample: from the file `scores`; those that it lacks are appended."""
    described = f"{detector.model.model_dump_json()} {DELIVERIES} {REDELIVERIES}"
    key = hashlib.sha256(described.encode()).hexdigest()[:12]
    lines = scores.read_text(encoding="utf-8").splitlines() if scores.exists() else []
    read = [Comparison(**json.loads(line)) for line in lines]
    known = {(comparison.file, comparison.redelivery): comparison for comparison in read if comparison.key == key}
    comparisons = []
    for image in track(sample):
        comparison = known.get((image.file, image.redelivery))
        if comparison is None:
            comparison = compare_verdicts(detector, image, folder, key)
            with scores.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(comparison)) + "\n")
        comparisons.append(comparison)
    return comparisons


def compare_verdicts(detector: Detector, image: Sampled, folder: Path, key: str) -> Comparison:
    """Detect an image and its redelivery by both methods."""
    path = folder / image.file
    labels: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as temporary:
        redelivered = Path(temporary) / "redelivered.png"
        redeliver(path, image.redelivery).save(redelivered)
        for name, method in ((PLAIN, detector.detect), (STABLE, detector.detect_stable)):
            started = time.process_time()
            (first,) = method([path])
            seconds[name] = time.process_time() - started
            (second,) = method([redelivered])
            labels[name] = [verdict.label or verdict.status for verdict in (first, second)]
    return Comparison(key, image.file, image.is_fake, image.redelivery, labels, seconds)


def redeliver(path: Path, name: str) -> Image.Image:
    """Return the picture in a file after the steps of a redelivery."""
    image = read_image(path).image
    for step in REDELIVERIES[name]:
        image = deliver(image, step)
    return image


def print_summary(comparisons: Sequence[Comparison]) -> None:
    """Print for each method how many verdicts change and how many are right, and the cost of `--stable`."""
    fakes = sum(comparison.is_fake for comparison in comparisons)
    sources = len({Path(comparison.file).parent for comparison in comparisons})
    print(f"{len(comparisons) - fakes} real, {fakes} generated images of {sources} sources; each delivered again once")
    for method in (PLAIN, STABLE):
        print(method)
        pairs = [comparison.labels[method] for comparison in comparisons]
        outcomes = [(pair[0], "fake" if one.is_fake else "real") for pair, one in zip(pairs, comparisons, strict=True)]
        print_share("from real to fake or back", [set(pair) == {"real", "fake"} for pair in pairs], comparisons)
        print_share("to any other label", [first != second for first, second in pairs], comparisons)
        print_share("unsure at first", [label == "unsure" for label, _ in outcomes], comparisons)
        print_share("right at first", [label == correct for label, correct in outcomes], comparisons)
        print_share("wrong at first", [{*pair} == {"real", "fake"} for pair in outcomes], comparisons)
    plain, stable = (sum(comparison.seconds[method] for comparison in comparisons) for method in (PLAIN, STABLE))
    print(f"processor time: {plain / len(comparisons):.2f} s an image; with --stable {stable / plain:.2f} times that")


def print_share(title: str, counted: Sequence[bool], comparisons: Sequence[Comparison]) -> None:
    """Print the share of images that are counted, with its 95 % interval over sources."""
    names = [str(Path(comparison.file).parent) for comparison in comparisons]
    sources = np.unique(names, return_inverse=True)[1]
    hits, images = (np.bincount(sources, weights).astype(np.float64) for weights in (np.array(counted), None))
    share = ratio_interval(Ratio(hits, images, len(comparisons)))
    print(f"  {title:28} {100 * share.value:5.1f} %  ({100 * share.low:.1f} to {100 * share.high:.1f})")


if __name__ == "__main__":
    main()
