"""Train the bundled detector.

    python scripts/train_detector.py IMAGES_CSV DATASET

IMAGES_CSV lists images with the columns of `changeling import folder`. DATASET is the folder of the dataset: it is
created if it does not exist, and stores the features, so that a second run resumes where the first stopped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.base import ImportedImage
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.detect.cross_validation import UNKNOWN
from changeling.detect.model import BUNDLED
from changeling.detect.train import TrainingSettings, train_detector
from changeling.progress import progress_bars

BACKBONE = "clip-vit-b16@blocks"
EARLY_DIMS = 4 * 768  # of the first four blocks, which perform worse on resaved images
# Generator families by a pattern of their names, so that a held-out generator is held out under all its names. The
# first pattern that is found counts. Many images are by either of two services: these are one family.
FAMILIES = {
    "dall-e, craiyon": r"dall-e|craiyon",
    "gpt-image, gemini": r"gpt-|chatgpt|gemini|nano-banana|imagen",
    "stable diffusion xl": r"sdxl|ssd-1b|segmind|segmoe|koala|lucid-realism|moodyreal",
    "stable diffusion 3": r"^sd-3|sd_3|stable-diffusion-3",
    "stable diffusion 1, 2": r"^sd-1|^SD[12]|^stable[-_]diffusion|blipdiffusion|facechain|sd-unknown|^sd/",
    "unknown diffusion models": r"^diffusion-unknown",
    "elsa-d3": r"^elsa-d3",
    "fibo": r"fibo",
    "flux": r"flux|chroma|krea|mage-flow",
    "gan": r"^gan|stylegan",
    "kandinsky": r"kandinsky|^KD2",
    "midjourney": r"midjourney|mj-like",
    "z-image": r"z[-_]?image",
    UNKNOWN: r"unknown|mixed|comfyui",
}
# These families are named as the part that their generators have in common.
COMMON_PART = re.compile(
    "auraflow|cogview|cosmos|ernie|hidream|hunyuan|infinity|longcat|lumina|pixart|playground|qwen|sana|seedream|wan"
)
# Older generators have many images, but are seldom used today: their images get a lower weight.
OLD_GENERATORS = ("dall-e, craiyon", "glide", "stable diffusion 1, 2", "gan", "elsa-d3", "unknown diffusion models")
GENERATOR_WEIGHTS = dict.fromkeys(OLD_GENERATORS, 0.3)
# All folders of one publisher are one source, so that its real and fake images are held out together.
PUBLISHER = re.compile(r"^(web_(?:adri|codrops|kurlyto|frs|ml72))_")
# The demo shows some of these pictures.
EXCLUDED_SOURCES = ("more_scikit_image_scikit_image",)


def find_family(generator: str) -> str:
    """Return the family of a generator, or its own name if it belongs to none."""
    for family, pattern in FAMILIES.items():
        if re.search(pattern, generator):
            return family
    common = COMMON_PART.search(generator)
    return common[0] if common else generator


def read_listing(listing: Path) -> Iterator[ImportedImage]:
    """Yield the rows of the CSV file, without excluded sources; families are generators, and publishers sources."""
    for row, captions in read_csv(listing):
        if row.source in EXCLUDED_SOURCES:
            continue
        publisher = PUBLISHER.match(row.source)
        source = publisher[1] if publisher else row.source
        family = find_family(row.generator) if row.generator else None
        yield ImportedImage(replace(row, generator=family, source=source), captions)


def main(listing: Path, folder: Path) -> None:
    """Import the dataset if needed, train the detector, and print its model card."""
    settings = TrainingSettings(GENERATOR_WEIGHTS, skipped_dims=EARLY_DIMS)
    with progress_bars() as progress:
        exists = (folder / "images.parquet").exists()
        dataset = Dataset(folder) if exists else import_dataset(read_listing(listing), folder, progress=progress)
        model = train_detector(dataset, BUNDLED, backbone=BACKBONE, settings=settings, progress=progress).model
    print((BUNDLED / "README.md").read_text())
    print(f"C = {model.settings['C']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
