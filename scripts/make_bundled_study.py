"""Make the features that the package carries: the true clusters, and pairs and unpaired images to train on.

    python scripts/make_bundled_study.py IMAGES_CSV

IMAGES_CSV lists images with the columns of `changeling import folder`. Every image is first brought to the same
form (short side at most 384 pixels, JPEG 86, 4:2:0, no metadata), real and fake alike. Needs changeling[torch].
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from changeling.backbones import registry
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.base import ImportedImage
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.features.extract import extract
from changeling.features.parts import feature_parts
from changeling.features.store import load_features
from changeling.images.decode import inspect_image, read_file, read_image
from changeling.images.encode import encode_for_web
from changeling.progress import progress_bars

OUTPUT = Path(__file__).parents[1] / "src/changeling/data/true-clusters"
CLUSTERS = "clusters_"  # sources of true clusters begin so
PER_SOURCE = 20  # unpaired images taken from one source at most
TEST_CLUSTERS = 12  # of 18; the others validate
BACKBONES = ("clip-vit-b16", "dinov2-vit-s14", "efficientnet-lite0")


def main(listing: Path) -> None:
    """Choose, bring to one form, extract, and store as float16."""
    chosen = choose(list(read_csv(listing)))
    with tempfile.TemporaryDirectory() as name, progress_bars() as progress:
        folder = Path(name)
        dataset = alike(import_dataset(iter(chosen), folder / "as-is", progress=progress), folder / "alike")
        bundle = write_dataset(OUTPUT, portable(dataset, chosen), captions(dataset))
        for backbone in BACKBONES:
            extract(dataset, registry.load_backbone(backbone), progress=progress)
            store(dataset, bundle, backbone)
    (OUTPUT / "card.json").write_text(json.dumps(card(bundle, chosen), indent=1) + "\n")


def choose(images: list[ImportedImage]) -> list[ImportedImage]:
    """All true clusters, six to validate and twelve to test; pairs of other sources, to train S and T.

    Of the sources that are left up to 20 images each, a fifth of the sources to validate.
    """
    true = [ImportedImage(row, texts) for row, texts in images if row.source.startswith(CLUSTERS)]
    ids = sorted({row.cluster_id for row, _ in true}, key=digest)
    splits: dict[str, Split] = {name: "test" if i < TEST_CLUSTERS else "val" for i, name in enumerate(ids)}
    chosen = [ImportedImage(replace(row, split=splits[row.cluster_id]), texts) for row, texts in true]
    roles: dict[str, set[str]] = {}
    for row, _ in images:
        roles.setdefault(row.cluster_id, set()).add(row.role)
    paired = [image for image in images if len(roles[image[0].cluster_id]) == 2 and image[0].cluster_id not in splits]
    chosen += [ImportedImage(replace(row, split="train"), texts) for row, texts in paired]
    training = {row.source for row, _ in paired}
    taken: Counter[str] = Counter()
    for row, texts in sorted(images, key=lambda image: digest(image[0].image_id)):
        if len(roles[row.cluster_id]) == 1 and row.cluster_id not in splits and taken[row.source] < PER_SOURCE:
            taken[row.source] += 1
            held = row.source not in training and int(digest(row.source), 16) % 5 == 0
            chosen.append(ImportedImage(replace(row, split="val" if held else "train"), texts))
    return chosen


def alike(dataset: Dataset, folder: Path) -> Dataset:
    """Re-encode every image into `folder`, in the same order."""
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    for index, row in enumerate(rows):
        data = encode_for_web(read_image(row.path).image)
        path = folder / f"{index:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        file = read_file(path)
        info = inspect_image(file)
        rows[index] = replace(
            row, path=path.name, width=info.width, height=info.height, format=info.format, sha256=file.sha256
        )
    return write_dataset(folder, rows, captions(dataset))


def portable(dataset: Dataset, chosen: list[ImportedImage]) -> list[ImageRow]:
    """The rows with the path that the listing gave: the images themselves do not ship."""
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    return [replace(row, path=original.image_id) for row, (original, _) in zip(rows, chosen, strict=True)]


def captions(dataset: Dataset) -> list[CaptionRow]:
    """The captions of a dataset, as rows."""
    return [CaptionRow(**row) for row in dataset.captions.to_pylist()]


def store(dataset: Dataset, bundle: Dataset, backbone: str) -> None:
    """Copy the features into the bundle as float16."""
    values = load_features(dataset, backbone).values.astype(np.float16)
    parts, bundle_parts = feature_parts(dataset, backbone), feature_parts(bundle, backbone)
    for index in parts.indices:
        bundle_parts.write(index, parts.read_header(index), values[slice(*parts.row_range(index))])


def card(bundle: Dataset, chosen: list[ImportedImage]) -> dict[str, object]:
    """Where the features come from."""
    sources = {
        source: dict(Counter(row.role for row, _ in chosen if row.source == source))
        for source in sorted({row.source for row, _ in chosen})
    }
    return {
        "what": "Features of 18 true clusters (parents with their children), of pairs and unpaired images to train on",
        "made by": "scripts/make_bundled_study.py",
        "form": "every image, real or fake: short side at most 384 pixels, JPEG 86, 4:2:0, no metadata",
        "dtype": "float16",
        "hash": bundle.hash,
        "splits": dict(Counter(bundle.column("split"))),
        "sources": sources,
        "images": "belong to their makers and are not part of this package; features cannot be turned back into them",
    }


def digest(text: str) -> str:
    """A fixed shuffle: hexadecimal SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
