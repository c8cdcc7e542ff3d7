"""Train the bundled detector.

    python scripts/train_detector.py IMAGES_CSV DATASET

IMAGES_CSV lists images with the columns of `changeling import folder`; DATASET is the folder to import them to, where
features are kept, so that a second run goes on where the first stopped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.base import Sourced
from changeling.datasets.importers.folder import from_csv, import_dataset
from changeling.detect.model import BUNDLED
from changeling.detect.train import train
from changeling.progress import bars

BACKBONE = "clip-vit-b16@blocks"
EARLY = 4 * 768  # the first four blocks, which do worse on pictures that were saved again
# One name for what is one generator, or one family: what is left out must be left out under all its names.
FAMILIES = {
    "dall-e, craiyon": r"dall-e|craiyon",
    "ernie-image": r"ernie",
    "flux": r"^flux\.|^flux-pro",
    "gan": r"^gan-|stylegan",
    "gemini, nano-banana": r"gemini|nano-banana",
    "gpt-image": r"gpt-image|chatgpt",
    "hidream": r"hidream",
    "hunyuan": r"hunyuan",
    "infinity": r"infinity",
    "kandinsky": r"kandinsky|^KD2",
    "lumina": r"lumina",
    "midjourney": r"midjourney",
    "playground": r"playground",
    "sana": r"sana",
    "stable diffusion 1, 2": r"^sd-1|^SD[12]|^stable[-_]diffusion|blipdiffusion",
    "stable diffusion 3": r"^sd-3",
    "stable diffusion xl": r"^sdxl|ssd-1b|segmind|segmoe|koala",
    "unknown diffusion models": r"^diffusion-unknown",
    "elsa-d3": r"^elsa-d3",
    "z-image": r"^z-image",
}
# Photographs meet the generators of today more often than these, which are easy and many: they count less.
OLD = ("dall-e, craiyon", "glide", "stable diffusion 1, 2", "gan", "elsa-d3", "unknown diffusion models")
# Folders of one publisher are one source: real and fake of it stay together.
PUBLISHER = re.compile(r"^(web_(?:adri|codrops|kurlyto|frs|ml72))_")


def images(listing: Path) -> Iterator[Sourced]:
    """The rows of the listing with families for generators and publishers for sources."""
    for row, captions in from_csv(listing):
        family = next((name for name, like in FAMILIES.items() if re.search(like, row.generator or "")), row.generator)
        publisher = PUBLISHER.match(row.source)
        yield replace(row, generator=family, source=publisher[1] if publisher else row.source), captions


def main(listing: Path, folder: Path) -> None:
    """Import, extract, train, write."""
    with bars() as progress:
        exists = (folder / "images.parquet").exists()
        dataset = Dataset(folder) if exists else import_dataset(images(listing), folder, progress=progress)
        old = dict.fromkeys(OLD, 0.3)
        model = train(dataset, BACKBONE, BUNDLED, emphasis=old, skip=EARLY, progress=progress).model
    print((BUNDLED / "README.md").read_text())
    print(f"C = {model.settings['C']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
