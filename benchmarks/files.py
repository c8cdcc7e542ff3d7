"""Measure file sizes, the loss of encoding images again, and the duplicate search of an audit.

    python benchmarks/files.py FOLDER

FOLDER holds photographs in JPEG. Printed are the figures of docs/build.md: the file sizes of parents and of children of
512 pixels, the change of a parent that is encoded again, the values of an image that depend on the batch it was drawn
in (of a tiny Stable Diffusion with random weights, on the CPU), and, of an audit, its speed, how many photographs it
finds again after they were resized and encoded again, and how many pairs of different photographs it takes for one.
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
from changeling.generators.base import Child, ParentFile
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
    measure_sizes(files)
    measure_encoding_loss(files)
    compare_batch_sizes()
    measure_audit_speed(files)
    measure_duplicate_search(files)


def measure_sizes(files: list[Path]) -> None:
    """Kilobytes of parents, and of children (a crop of another photograph) in the parent's encoding and in PNG."""
    matched_sizes, png_sizes = [], []
    for parent, other in itertools.pairwise(files):
        child = resize_square(read_image(other).image, 512)
        matched_sizes.append(len(encode_image(child, read_encoding(read_file(parent)))))
        png_sizes.append(len(encode_image(child, PNG_ENCODING)))
    parent_size = np.mean([path.stat().st_size for path in files])
    print(f"{len(files)} parents, {parent_size / 1e3:.0f} kB each")
    matched, png = np.mean(matched_sizes) / 1e3, np.mean(png_sizes) / 1e3
    print(f"children of 512 pixels: matched {matched:.0f} kB, off {png:.0f} kB", flush=True)


def measure_encoding_loss(files: list[Path]) -> None:
    """Grey levels by which parents change when they are encoded again in their own encoding."""
    changes = []
    for path in files:
        image = read_image(path).image
        with Image.open(BytesIO(encode_image(image, read_encoding(read_file(path))))) as encoded:
            changes.append(np.abs(levels(encoded) - levels(image)).mean())
    print(f"encoded again: {np.mean(changes):.2f} of 255 grey levels on average, {max(changes):.2f} at most")


def compare_batch_sizes() -> None:
    """Values of seven images that differ between drawing them one by one and in one batch."""
    with tempfile.TemporaryDirectory() as folder:
        generator = load_generator(drawing("sd", steps=4), save_pipelines(Path(folder) / "models"))
    template = Child("", 0, "", "train", "", 0, "", 0, ParentFile(Path(), ""))
    children = [replace(template, prompt=f"a photograph, number {number}", seed=number) for number in range(7)]
    batch = generator.draw(children, [child.seed for child in children])
    single = [generator.draw([child], [child.seed])[0] for child in children]
    changes = np.stack([np.abs(levels(a) - levels(b)) for a, b in zip(batch, single, strict=True) if a and b])
    print(f"batches of 1 and of 7: {(changes > 0).sum()} of {changes.size:,} values differ, by {changes.max()} at most")


def measure_audit_speed(files: list[Path]) -> None:
    """Images per second."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [ImageRow(path.name, path.name, "parent", str(path.absolute()), "train") for path in files]
        dataset = write_dataset(Path(folder), rows)
        start = time.perf_counter()
        audit_dataset(dataset)
        print(f"audit: {len(files) / (time.perf_counter() - start):.0f} images/s", flush=True)


def measure_duplicate_search(files: list[Path]) -> None:
    """Resized and re-encoded photographs that are recognised, and pairs of different photographs taken for one."""
    recognised, greys = 0, []
    for path in files:
        image = read_image(path).image
        greys.append(to_greys(image))
        for scale, quality in itertools.product(SCALES, QUALITIES):
            resized = image.resize((round(scale * image.width), round(scale * image.height)))
            with Image.open(BytesIO(encode_image(resized, jpeg_encoding(quality)))) as encoded:
                recognised += is_duplicate(greys[-1], to_greys(encoded.convert("RGB")))
    copies = len(SCALES) * len(QUALITIES) * len(files)
    pairs = list(itertools.combinations(greys, 2))
    confused = sum(is_duplicate(*pair) for pair in pairs)
    print(f"resized and encoded again: {recognised:,} of {copies:,} recognised")
    print(f"{confused} of {len(pairs):,} pairs of different photographs taken for one")


def is_duplicate(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether an audit takes two pictures, as greys, for one."""
    different_bits = int(np.bitwise_count(perceptual_hash(first) ^ perceptual_hash(second)).sum())
    return different_bits <= MAX_DISTANCE and is_same_picture(first, second)


def levels(image: Image.Image) -> Levels:
    """Grey levels of all channels (H, W, 3)."""
    return np.asarray(image.convert("RGB"), dtype=np.int64)


if __name__ == "__main__":
    main()
