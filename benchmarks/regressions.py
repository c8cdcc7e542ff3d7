"""Which verdicts another model changes, on a list of pictures that is kept with the code.

    python -m benchmarks.regressions IMAGES_CSV [--model FOLDER]
    python -m benchmarks.regressions IMAGES_CSV --write [--count 280]

benchmarks/regressions.csv has a picture a row: its SHA-256, a short name, its role (parent = real, child = generated),
the label of the model that wrote the list, and the band in which the probability is expected. The pictures themselves
are found by their hash: those of IMAGES_CSV (columns `file`, `role` and `sha256`), and sample pictures of installed
packages. A run prints the labels that changed, the probabilities that left their bands, and how many pictures were not
found; it ends with 1 if a label changed. `--write` writes the list anew, with the verdicts of the model.
A picture takes about 0.7 s of processor time: the whole takes some five minutes with one core.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.progress import track

from benchmarks.flips import draw_sample
from changeling.detect.detector import Detector, Verdict
from changeling.files import atomic_write
from changeling.images.decode import read_file

LIST = Path(__file__).with_suffix(".csv")
HALF_BAND = 0.1  # of a probability, on both sides
PACKAGE_PICTURES = {
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": tuple(f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """A row of the list. Its label is a status if the picture could not be read."""

    sha256: str
    name: str
    role: str
    label: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was found."""

    path: Path
    name: str
    role: str


def main() -> None:
    """Write the list, or print what has changed; exit with 1 if a label has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images_csv", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--count", type=int, default=280, help="pictures of IMAGES_CSV, half of them generated")
    arguments = parser.parse_args()
    found = find_pictures(arguments.images_csv)
    detector = Detector.load(arguments.model)
    if arguments.write:
        sample = draw_sample(arguments.images_csv, "*", arguments.count, seed=0)
        drawn = {arguments.images_csv.parent / image.file for image in sample}
        chosen = {key: picture for key, picture in found.items() if picture.path in drawn or is_of_package(picture)}
        write_list(detect_expected(detector, chosen), LIST)
    else:
        sys.exit(print_changes(detector, read_list(LIST), found))


def find_pictures(images_csv: Path) -> dict[str, Picture]:
    """Return the pictures of the list and of installed packages, by their SHA-256."""
    with images_csv.open(newline="", encoding="utf-8") as file:
        found = {
            row["sha256"]: _make_picture(images_csv.parent / row["file"], row["role"]) for row in csv.DictReader(file)
        }
    for package, names in PACKAGE_PICTURES.items():
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            paths = [Path(folder) / name for name in names]
            found |= {
                read_file(path).sha256: Picture(path, f"{package}/{path.name}", "parent")
                for path in paths
                if path.exists()
            }
    return found


def _make_picture(path: Path, role: str) -> Picture:
    return Picture(path, f"{path.parent.name}/{path.name}", role)


def is_of_package(picture: Picture) -> bool:
    """Whether a picture is a sample picture of an installed package."""
    return picture.name.split("/")[0] in PACKAGE_PICTURES


def detect_expected(detector: Detector, pictures: dict[str, Picture]) -> list[Expected]:
    """Return rows of the list, with the labels of the detector and bands around its probabilities."""
    rows = []
    verdicts = detector.detect([picture.path for picture in pictures.values()])
    for (sha256, picture), verdict in zip(pictures.items(), track(verdicts, total=len(pictures)), strict=True):
        probability = verdict.probability if verdict.probability is not None else 0.0
        low, high = round(max(0.0, probability - HALF_BAND), 3), round(min(1.0, probability + HALF_BAND), 3)
        rows.append(Expected(sha256, picture.name, picture.role, describe_label(verdict), low, high))
    return sorted(rows, key=lambda row: row.name)


def describe_label(verdict: Verdict) -> str:
    """Return the label of a verdict, or its status if the picture could not be read."""
    return verdict.label or verdict.status


def write_list(rows: Sequence[Expected], path: Path) -> None:
    """Write the list as a CSV file."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Expected)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_list(path: Path) -> list[Expected]:
    """Read the list. Exits if there is none."""
    if not path.exists():
        sys.exit(f"{path} does not exist: write it with --write")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Expected(row["sha256"], row["name"], row["role"], row["label"], float(row["low"]), float(row["high"]))
        for row in rows
    ]


def print_changes(detector: Detector, rows: Sequence[Expected], found: dict[str, Picture]) -> int:
    """Print labels that changed, then probabilities outside of their bands; return 1 if a label changed, else 0."""
    present = [row for row in rows if row.sha256 in found]
    verdicts = detector.detect([found[row.sha256].path for row in present])
    pairs = list(zip(present, track(verdicts, total=len(present)), strict=True))
    flips = [(row, verdict) for row, verdict in pairs if describe_label(verdict) != row.label]
    moved = [(row, verdict) for row, verdict in pairs if not is_in_band(row, verdict)]
    print(f"{len(present)} pictures, {len(rows) - len(present)} not found: {len(flips)} labels changed")
    for (role, old, new), count in sorted(Counter((r.role, r.label, describe_label(v)) for r, v in flips).items()):
        print(f"  {count:4} {'generated' if role == 'child' else 'real':9} {old} -> {new}")
    for title, changes in (("labels", flips), ("probabilities outside of their bands", moved)):
        print(f"{title}: {len(changes)}")
        for row, verdict in changes:
            print(f"  {row.name}: {row.label} {row.low:g} to {row.high:g} -> {describe_label(verdict)}", end=" ")
            print(f"{verdict.probability:.3f}" if verdict.probability is not None else "")
    return int(bool(flips))


def is_in_band(row: Expected, verdict: Verdict) -> bool:
    """Whether the probability of a verdict, rounded as the band is, lies in the band of a row."""
    return verdict.probability is None or row.low <= round(verdict.probability, 3) <= row.high


if __name__ == "__main__":
    main()
