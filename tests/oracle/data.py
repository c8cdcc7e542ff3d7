"""A synthetic dataset as plain arrays: uneven clusters with missing images, missing captions and ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.features.captions import extract_captions
from tests.experiments.conftest import store

CLUSTERS = 300
GENERATORS = ("g-one", "g-two")
RARE = "g-rare"  # of two clusters, too few for rows of its own
DIMS = {"backbone-a": 16, "backbone-b": 12}
UNKNOWN = -1  # as a caption index
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Images:
    """Images and captions, a value each: `cluster` and `caption_cluster` are numbers of clusters.

    `values` and `caption_values` are features by backbone, in the same order; the feature of an image that could not be
    read is NaN.
    """

    cluster: NDArray[np.int64]
    is_child: NDArray[np.bool_]
    generator: NDArray[Any]  # "" for parents
    caption_index: NDArray[np.int64]
    split: NDArray[Any]
    is_readable: NDArray[np.bool_]
    values: dict[str, NDArray[np.float32]]
    caption_cluster: NDArray[np.int64]
    index_of_caption: NDArray[np.int64]
    caption_values: dict[str, NDArray[np.float32]]

    def has_feature(self, backbone: str) -> NDArray[np.bool_]:
        return np.asarray(~np.isnan(self.values[backbone]).any(axis=1))


@dataclass
class _Drawing:
    """Rows as they are drawn, with the meaning that the features of all backbones are made of."""

    rng: np.random.Generator
    images: list[tuple[int, bool, str, int, str]] = field(default_factory=list)
    meanings: list[NDArray[np.float64]] = field(default_factory=list)
    captions: list[tuple[int, int]] = field(default_factory=list)
    caption_meanings: list[NDArray[np.float64]] = field(default_factory=list)

    def add_cluster(self, cluster: int, split: str, styles: dict[str, NDArray[np.float64]]) -> None:
        rng, dim = self.rng, max(DIMS.values())
        meaning = rng.normal(size=dim)
        captions = [
            meaning + 0.7 * rng.normal(size=dim)
            for _ in range(rng.choice([0, 1, 3, 5, 7], p=[0.03, 0.07, 0.2, 0.6, 0.1]))
        ]
        self.captions += [(cluster, index) for index in range(len(captions))]
        self.caption_meanings += captions
        if rng.random() > 0.03:
            self.images.append((cluster, False, "", UNKNOWN, split))
            self.meanings.append(meaning + 0.5 * rng.normal(size=dim) - styles["real"])
        for _ in range(rng.choice([0, 1, 2, 3, 5, 8], p=[0.04, 0.08, 0.18, 0.2, 0.4, 0.1])):
            index = int(rng.integers(len(captions))) if captions and rng.random() > 0.1 else UNKNOWN
            generator = RARE if cluster in (0, 1) else str(rng.choice(GENERATORS))
            source = captions[index] if index != UNKNOWN else meaning
            named = 99 if rng.random() < 0.02 else index  # a caption that the dataset does not have
            self.images.append((cluster, True, generator, named, split))
            self.meanings.append(source + 0.5 * rng.normal(size=dim) + styles[generator])


def draw_images(seed: int) -> Images:
    """Draw 300 clusters in shuffled order, with copies of parents among the children and captions that are equal."""
    rng = np.random.default_rng(seed)
    drawing = _Drawing(rng)
    styles = {name: 0.25 * rng.normal(size=max(DIMS.values())) for name in ("real", *GENERATORS, RARE)}
    for number, name in enumerate(rng.permutation(np.repeat(SPLITS, (150, 60, 90))).tolist()):
        drawing.add_cluster(number, name, styles)
    meanings, caption_meanings = np.array(drawing.meanings), np.array(drawing.caption_meanings)
    columns = [np.array(column) for column in zip(*drawing.images, strict=True)]
    original, original_caption = _copy_parents(columns[0], columns[1], rng), np.arange(len(caption_meanings))
    original_caption[rng.choice(len(caption_meanings), 40)] = rng.choice(len(caption_meanings), 40)
    is_readable = rng.random(len(columns[0])) > 0.04
    order, caption_order = rng.permutation(len(columns[0])), rng.permutation(len(caption_meanings))
    caption_cluster, index_of_caption = np.array(drawing.captions)[caption_order].T
    values, caption_values = {}, {}
    for backbone, dim in DIMS.items():
        encoder = rng.normal(size=(meanings.shape[1], dim)) / 4 + np.eye(meanings.shape[1], dim)
        values[backbone] = (meanings @ encoder).astype(np.float32)[original[order]]
        values[backbone][~is_readable[order] | (rng.random(len(order)) < 0.01)] = np.nan
        caption_values[backbone] = (caption_meanings @ encoder).astype(np.float32)[original_caption[caption_order]]
    cluster, is_child, generator, index, split, readable = (column[order] for column in (*columns, is_readable))
    return Images(
        cluster, is_child, generator, index, split, readable, values, caption_cluster, index_of_caption, caption_values
    )


def _copy_parents(
    cluster: NDArray[np.int64], is_child: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return which image each image is a copy of: in some clusters one child, or all, of the parent; else itself."""
    original = np.arange(len(cluster))
    for number in rng.permutation(CLUSTERS)[:80]:
        parent, children = (np.flatnonzero((cluster == number) & (is_child == kind)) for kind in (False, True))
        if len(parent):
            original[children if number % 4 == 0 else children[:1]] = parent[0]
    return original


class _KnownCaptions:
    """A text tower that returns given features."""

    weights = "w"

    def __init__(self, name: str, values: NDArray[np.float32]) -> None:
        self.name, self.values = name, values

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        assert len(captions) == len(self.values)
        return self.values


def write_images(folder: Path, images: Images) -> Dataset:
    """Write the dataset as an import and an extraction do."""
    rows = [
        ImageRow(
            image_id=f"i{number}",
            cluster_id=f"c{images.cluster[number]}",
            role="child" if is_child else "parent",
            path=f"{number}.jpg",
            split=images.split[number],
            caption_index=int(index) if is_child and index != UNKNOWN else None,
            generator=str(generator) if is_child else None,
            sha256=f"{number}",
            status="ok" if images.is_readable[number] else "corrupt",
        )
        for number, (is_child, generator, index) in enumerate(
            zip(images.is_child, images.generator, images.caption_index, strict=True)
        )
    ]
    captions = [
        CaptionRow(f"c{cluster}", int(index), f"caption {index} of {cluster}")
        for cluster, index in zip(images.caption_cluster, images.index_of_caption, strict=True)
    ]
    dataset = write_dataset(folder, rows, captions)
    for backbone, values in images.values.items():
        store(dataset, backbone, values)
        extract_captions(dataset, _KnownCaptions(backbone, images.caption_values[backbone]))
    return dataset
