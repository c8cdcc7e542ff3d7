"""What the detector says of photographs that are hard to judge: at night, in black and white, weddings, scanned prints.

    python -m benchmarks.hard_photographs IMAGES_CSV [--model FOLDER]

IMAGES_CSV is the list that scripts/train_detector.py trained the model on; nothing is encoded. The scores are the
held-out scores in the folder of the model, each by a head that was trained without the photograph's source. The
thresholds are those of the model. A photograph belongs to a class by its pixels, or by what the list says of it: the
names of its source and file, `origin` and `note`; so a class may have a few photographs of another kind. Intervals
are Clopper and Pearson's, over images; photographs of one source are not independent.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import track
from scripts.train_detector import EXCLUDED_SOURCES, read_listing

from changeling.detect.held_out import HeldOutImages, load_held_out
from changeling.detect.model import BUNDLED, Label, load_model
from changeling.errors import ImageError
from changeling.images.decode import read_image
from changeling.stats.intervals import clopper_pearson

MAX_GREY_CHROMA = 4.0  # the mean difference between the channels of a black and white photograph, of 255
MAX_NIGHT_LUMINANCE = 50.0  # the mean luminance of a photograph at night, of 255
CLASSES = {
    "at night, low light": r"/night/|retinexnet",
    "HDR": r"csjcai|banterle|/hdr/",
    "macro": r"\bmacro\b|close.?up|insect|flower",
    "portraits": r"portrait(?!_\d)|headshot",  # not the test pictures of EXIF orientations
    "weddings": r"wedding|bride",
    "fashion, retouched": r"retouch|fashion|beauty",
    "food": r"food|recipe|howtocook|restaurant|dishes",
    "press": r"\bpress\b",
    "film and scanned prints": r"deoldify|web_kodak|\bscan",
    "screenshots of photographs": r"web_kai_pairs",
    "photographers' own sites": r"photographer/portfolio",
}
GREY, NIGHT, OTHERS = "black and white", "at night, low light", "none of these"


@dataclass(slots=True)
class Count:
    """How many photographs of a class have each label, and their sources."""

    labels: Counter[Label] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)


def main() -> None:
    """Print the labels of the photographs in each class."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images_csv", type=Path)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    arguments = parser.parse_args()
    held_out = load_held_out(arguments.model)
    check_order(held_out, arguments.images_csv)
    labels = label_scores(arguments.model, held_out)
    with arguments.images_csv.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if Path(row["file"]).parent.name not in EXCLUDED_SOURCES]
    print_counts(count_labels(rows, labels, arguments.images_csv.parent))


def check_order(held_out: HeldOutImages, images_csv: Path) -> None:
    """Exit unless the held-out images are those of the list, in its order."""
    listed = [(image.row.role == "child", image.row.source) for image in read_listing(images_csv)]
    tested = [(label == 1, source) for label, source in zip(held_out.rows.labels, held_out.rows.sources, strict=True)]
    if listed != tested:
        sys.exit(f"{images_csv}: these are not the images that the model was trained on; name the list of its training")


def label_scores(model: Path, held_out: HeldOutImages) -> list[Label]:
    """Return the label of each held-out score, by the thresholds of the model."""
    trained = load_model(model)
    return [trained.choose_label(trained.convert_score(score)) for score in held_out.scores.images.tolist()]


def count_labels(rows: Sequence[dict[str, str]], labels: Sequence[Label], folder: Path) -> dict[str, Count]:
    """Return the counts of each class; photographs that cannot be read are left out."""
    counts = {name: Count() for name in (*CLASSES, GREY, OTHERS)}
    photographs = [(row, label) for row, label in zip(rows, labels, strict=True) if row["role"] == "parent"]
    for row, label in track(photographs):
        for name in find_classes(row, folder):
            counts[name].labels[label] += 1
            counts[name].sources.add(Path(row["file"]).parent.name)
    return counts


def find_classes(row: dict[str, str], folder: Path) -> Iterable[str]:
    """Return the classes of the photograph in a row of the list."""
    text = " ".join(row.get(name) or "" for name in ("file", "origin", "note"))
    classes = {name for name, pattern in CLASSES.items() if re.search(pattern, text, re.IGNORECASE)}
    try:
        chroma, luminance = measure_colours(folder / row["file"])
    except ImageError:
        return ()
    if chroma < MAX_GREY_CHROMA:
        classes.add(GREY)
    if luminance < MAX_NIGHT_LUMINANCE:
        classes.add(NIGHT)
    return classes or {OTHERS}


def measure_colours(path: Path) -> tuple[float, float]:
    """Return the mean difference between the channels of an image and its mean luminance, both from 0 to 255.

    Raises:
        ImageError: the image cannot be read.
    """
    image = read_image(path).image
    image.thumbnail((128, 128))
    pixels = np.asarray(image, dtype=np.int64)
    return float(np.ptp(pixels, axis=2).mean()), float(np.asarray(image.convert("L")).mean())


def print_counts(counts: dict[str, Count]) -> None:
    """Print a line for each class: its size and the share of each label, with intervals."""
    print(
        f"{'photographs':28}{'sources':>8}{'n':>6}   " + "".join(f"{label:24}" for label in ("fake", "unsure", "real"))
    )
    for name, count in counts.items():
        total = count.labels.total()
        shares = [format_share(count.labels[label], total) for label in ("fake", "unsure", "real")]
        print(f"{name:28}{len(count.sources):8}{total:6}   " + "".join(f"{share:24}" for share in shares).rstrip())


def format_share(hits: int, total: int) -> str:
    """Return a share in per cent, with its interval, as text; "-" without any image."""
    if not total:
        return "-"
    low, high = clopper_pearson(hits, total)
    return f"{100 * hits / total:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
