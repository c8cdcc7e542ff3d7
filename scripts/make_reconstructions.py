"""Make the reconstructed clusters that the package carries: captioned photographs through five tiny autoencoders.

    python -m scripts.make_reconstructions prepare IMAGES_CSV FOLDER
    python scripts/convert_taesd.py WEIGHTS FOLDER/models       # or remove `model` from the study file: from the Hub
    changeling import folder FOLDER/parents.csv --output FOLDER/parents
    changeling build FOLDER/study.toml
    changeling extract FOLDER/reconstructions --backbone NAME   # once for each backbone
    python -m scripts.make_reconstructions bundle FOLDER

`prepare` scales and crops each photograph to a square of the backbones' own input size, so that no later resizing
removes what a decoder leaves, and saves it in the encoding of its file. Needs changeling[generate,torch].
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from changeling.build.encoding import Encoder
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.generators.presets import read_presets
from changeling.images.decode import read_file
from scripts.make_bundled_study import BACKBONES, digest, store

OUTPUT = Path(__file__).parents[1] / "src/changeling/data/reconstructions"
SOURCES = ("coco_mini", "flickr8k_1000")  # folders of photographs with five captions each
SIDE = 224  # pixels
VAL_SHARE, TEST_SHARE = 0.2, 0.2  # of the clusters
GENERATORS = ("taesd", "taesdxl", "taesd3", "taef1", "taef2")
STUDY = """dataset = "reconstructions"
output = "study"
experiments = ["distances", "probe", "confounds"]

[build]
parents = "parents"
encoding = "matched"
"""


def prepare(listing: Path, folder: Path) -> None:
    """Write the squares, a CSV file that lists them with their captions and splits, and the study file."""
    encoder = Encoder(BuildSettings(encoding="matched", size=SIDE))
    with listing.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if find_source(row) in SOURCES]
    splits = assign_splits({row["group"] for row in rows})
    (folder / "photographs").mkdir(parents=True, exist_ok=True)
    with (folder / "parents.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("file", "role", "group", "captions", "split", "source"))
        writer.writeheader()
        for row in rows:
            saved = encoder.encode_parent(read_file(listing.parent / row["file"]))
            name = f"photographs/{row['group']}{saved.suffix}"
            (folder / name).write_bytes(saved.data)
            copied = {column: row[column] for column in ("role", "group", "captions")}
            writer.writerow({"file": name, "split": splits[row["group"]], "source": find_source(row)} | copied)
    tables = [f'\n[generators."reconstruction-{name}"]\nmodel = "models/{name}"\n' for name in GENERATORS]
    (folder / "study.toml").write_text(STUDY + "".join(tables))


def find_source(row: dict[str, str]) -> str:
    """The folder of an image in the listing, which names its source."""
    return Path(row["file"]).parent.name


def assign_splits(clusters: set[str]) -> dict[str, str]:
    """The split of each cluster: fixed shares, in an order that depends on the names alone."""
    ordered = sorted(clusters, key=digest)
    tests, vals = round(TEST_SHARE * len(ordered)), round(VAL_SHARE * len(ordered))
    names = ["test"] * tests + ["val"] * vals + ["train"] * (len(ordered) - tests - vals)
    return dict(zip(ordered, names, strict=True))


def bundle(folder: Path) -> None:
    """Store the features of the dataset FOLDER/reconstructions in the package, without images and captions."""
    dataset = Dataset(folder / "reconstructions")
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    bundled = write_dataset(OUTPUT, [replace(row, path=row.image_id) for row in rows], [])
    for backbone in BACKBONES:
        store(dataset, bundled, backbone)
    records = json.loads((dataset.path / "generators.json").read_text("utf-8"))
    (OUTPUT / "card.json").write_text(json.dumps(describe(bundled, rows, records), indent=1) + "\n")


def describe(bundled: Dataset, rows: list[ImageRow], records: dict[str, dict[str, object]]) -> dict[str, object]:
    """Where the features come from."""
    presets = read_presets()
    parents = [row for row in rows if row.role == "parent"]
    return {
        "what": "Features of photographs and of their reconstructions by five tiny autoencoders. A reconstruction "
        "differs from its photograph by the traces of encoder and decoder alone",
        "made by": "scripts/make_reconstructions.py",
        "form": f"photographs scaled and cropped to {SIDE} x {SIDE} pixels and saved in the encoding of their own "
        "file (its JPEG tables and chroma subsampling, no metadata); reconstructions in their photograph's encoding",
        "dtype": "float16",
        "hash": bundled.hash,
        "splits": dict(Counter(row.split for row in rows)),
        "clusters": dict(Counter(row.split for row in parents)),
        "sources": dict(Counter(row.source for row in parents)),
        "generators": {name: {"hub": presets[name]["model"]} | record for name, record in records.items()},
        "weights": "TAESD by Ollin Boer Bohan, MIT licence; copies in the author's layout, converted by "
        "scripts/convert_taesd.py. That they equal the files on the Hub was not verified",
        "captions": "not part of this package: those of COCO are CC BY 4.0, those of Flickr8k have no clear licence",
        "images": "belong to their makers and are not part of this package; features cannot be turned back into them",
    }


COMMANDS: dict[str, Callable[..., None]] = {"prepare": prepare, "bundle": bundle}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*map(Path, sys.argv[2:]))
