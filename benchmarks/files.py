"""What files take, what saving them again changes, and whether an audit knows a picture again.

    python benchmarks/files.py FOLDER

FOLDER has photographs in JPEG. Printed are the figures of docs/build.md: the size of parents and of children of 512
pixels, how far a parent that is saved in its own form is from what it was, how many values of a picture hang on the
batch that it was drawn in (of a tiny Stable Diffusion with random weights, on the CPU), and of an audit its speed, how
many photographs it knows again that were scaled and saved again, and how many pairs of different ones it mistakes.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tests.build.builds import drawing
from tests.generators.tiny import save_pipelines

from changeling.datasets.audit.audit import audit_dataset
from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.generators.base import Child
from changeling.generators.families import load_generator
from changeling.images.decode import read_file, read_image
from changeling.images.encode import PNG_ENCODING, encode_image, jpeg_encoding, read_encoding
from changeling.images.perceptual_hash import MAX_DISTANCE, is_same_picture, perceptual_hash, to_greys
from changeling.images.transforms import resize_square

Levels = NDArray[np.int64]
SCALES, QUALITIES = (0.5, 0.75, 1.0), (60, 75, 90)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.glob("*.jpg"))
    sizes(files)
    again(files)
    batches()
    auditing(files)


def sizes(files: list[Path]) -> None:
    """Kilobytes of parents, and of children: another photograph's middle, in the parent's form and in PNG."""
    matched, off = [], []
    for path, other in itertools.pairwise(files):
        child = resize_square(read_image(other).image, 512)
        matched.append(len(encode_image(child, read_encoding(read_file(path)))))
        off.append(len(encode_image(child, PNG_ENCODING)))
    parents = np.mean([path.stat().st_size for path in files])
    print(f"{len(files)} parents, {parents / 1e3:.0f} kB each")
    print(
        f"children of 512 pixels: matched {np.mean(matched) / 1e3:.0f} kB, off {np.mean(off) / 1e3:.0f} kB", flush=True
    )


def again(files: list[Path]) -> None:
    """Grey levels by which a parent changes that is saved in its own form."""
    changes = []
    for path in files:
        image = read_image(path).image
        with Image.open(BytesIO(encode_image(image, read_encoding(read_file(path))))) as saved:
            changes.append(np.abs(levels(saved) - levels(image)).mean())
    print(
        f"saved again in its own form: {np.mean(changes):.2f} of 255 grey levels on average, {max(changes):.2f} at most"
    )


def batches() -> None:
    """Values of seven pictures that differ between drawing them one by one and together."""
    with tempfile.TemporaryDirectory() as folder:
        generator = load_generator(drawing("sd", steps=4), save_pipelines(Path(folder) / "models"))
    one = Child("", 0, "", "train", "", 0, "", 0, Path(), "")
    children = [replace(one, prompt=f"a photograph, number {number}", seed=number) for number in range(7)]
    seeds = [child.seed for child in children]
    together = generator.draw(children, seeds)
    alone = [generator.draw([child], [child.seed])[0] for child in children]
    changes = np.stack([np.abs(levels(a) - levels(b)) for a, b in zip(together, alone, strict=True) if a and b])
    print(f"batches of 1 and of 7: {(changes > 0).sum()} of {changes.size:,} values differ, by {changes.max()} at most")


def auditing(files: list[Path]) -> None:
    """Images a second, re-saves that are known again, and different photographs that are mistaken."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [ImageRow(path.name, path.name, "parent", str(path.absolute()), "train") for path in files]
        dataset = write_dataset(Path(folder), rows)
        began = time.perf_counter()
        audit_dataset(dataset)
        print(f"audit: {len(files) / (time.perf_counter() - began):.0f} images/s", flush=True)
    known, greys = 0, []
    for path in files:
        image = read_image(path).image
        greys.append(to_greys(image))
        for scale in SCALES:
            scaled = image.resize((round(scale * image.width), round(scale * image.height)))
            for quality in QUALITIES:
                with Image.open(BytesIO(encode_image(scaled, jpeg_encoding(quality)))) as saved:
                    known += same(greys[-1], to_greys(saved.convert("RGB")))
    pairs = [(a, b) for place, a in enumerate(greys) for b in greys[:place]]
    print(f"scaled and saved again: {known:,} of {9 * len(files):,} known again; ", end="")
    print(f"of {len(pairs):,} pairs of different photographs {sum(same(*pair) for pair in pairs)} taken for one")


def same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether an audit takes two pictures for one."""
    return int(
        np.bitwise_count(perceptual_hash(one) ^ perceptual_hash(other)).sum()
    ) <= MAX_DISTANCE and is_same_picture(one, other)


def levels(image: Image.Image) -> Levels:
    """Grey levels of all channels (H, W, 3)."""
    return np.asarray(image.convert("RGB"), dtype=np.int64)


if __name__ == "__main__":
    main()
