"""Planted features: clusters with known semantics, captions and style, so that the results are known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from changeling.backbones.registry import TextBackbone
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.features.captions import extract_captions
from changeling.features.parts import PART_SIZE, FeatureHeader, feature_parts
from changeling.features.store import load_features

Plant = Callable[..., Dataset]
DIM = 24


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Make a dataset of clusters with a parent and `children` whose features are meaning + style + noise."""

    def make(
        *,
        style: float,
        clusters: int = 120,
        children: int = 3,
        generators: int = 1,
        seed: int = 0,
        own: float = 0.0,
        apart: bool = False,
        with_captions: bool = False,
    ) -> Dataset:
        rng = np.random.default_rng(seed)
        shares: dict[Split, float] = {"train": 0.5, "val": 0.2, "test": 0.3}
        splits = [split for split, share in shares.items() for _ in range(round(share * clusters))]
        rows, features, captions, caption_features = [], [], [], []
        for cluster, split in enumerate(splits):
            meaning = rng.normal(size=DIM)
            if apart:  # style has a direction of its own
                meaning[0] = 0
            meanings = meaning + own * rng.normal(size=(children, DIM))  # of each caption
            texts = [f"caption {cluster}", *(f"caption {cluster}, text {index}" for index in range(1, children))]
            captions += [CaptionRow(f"c{cluster}", index, text) for index, text in enumerate(texts)]
            caption_features.append(meanings)
            for member in range(1 + children):
                child = member > 0
                rows.append(
                    ImageRow(
                        image_id=f"c{cluster}-{member}",
                        cluster_id=f"c{cluster}",
                        role="child" if child else "parent",
                        path=f"{cluster}-{member}.jpg",
                        split=split,
                        caption_index=member - 1 if child else None,
                        generator=f"g{member % generators}" if child else None,
                        sha256=f"{cluster}-{member}",
                    )
                )
                direction = np.eye(DIM)[0] * (style if child else -style)
                features.append((meanings[member - 1] if child else meaning) + direction + 0.3 * rng.normal(size=DIM))
        dataset = write_dataset(tmp_path / f"planted-{style}-{seed}", rows, captions)
        store(dataset, "planted", np.array(features, np.float32))
        if with_captions:
            extract_captions(dataset, make_text_backbone(np.concatenate(caption_features).astype(np.float32)))
        return dataset

    return make


class KnownCaptionFeatures:
    """A text tower that returns given features of the captions."""

    name, weights = "planted", "w"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def encode_text(self, captions: Sequence[str]) -> np.ndarray:
        assert len(captions) == len(self.values)
        return self.values


def make_text_backbone(values: np.ndarray) -> TextBackbone:
    """Return a backbone with given features of captions; only its name, hash of weights and text tower are used."""
    return cast(TextBackbone, KnownCaptionFeatures(values))


def draw_files(dataset: Dataset, split: str = "") -> None:
    """Write a picture to the path of each image of a split, or of all."""
    for path, name in zip(dataset.column("path"), dataset.column("split"), strict=True):
        if split in ("", name):
            Image.new("RGB", (4, 4)).save(dataset.resolve_path(path))


def keep_images(dataset: Dataset, is_kept: np.ndarray) -> Dataset:
    """Return a planted dataset without some of its images: those where `is_kept` (N,) is false."""
    values = load_features(dataset, "planted").values[is_kept]
    rows = [ImageRow(**row) for row in dataset.images.filter(is_kept).to_pylist()]
    captions = [CaptionRow(**row) for row in dataset.captions.to_pylist()]
    smaller = write_dataset(dataset.path.with_name(f"{dataset.path.name}-{len(rows)}"), rows, captions)
    store(smaller, "planted", values)
    return smaller


def store(dataset: Dataset, backbone: str, values: np.ndarray) -> None:
    """Write features to a dataset as an extraction does; rows with NaN are images that cannot be read."""
    parts = feature_parts(dataset, backbone)
    for index in parts.indices:
        start, stop = parts.row_range(index)
        header = FeatureHeader(
            backbone=backbone,
            weights="w",
            preprocessing="p",
            rows=(start, stop),
            images=dataset.hash_rows(PART_SIZE)[index],
            errors={row: ("corrupt", "broken") for row in range(start, stop) if np.isnan(values[row]).any()},
        )
        parts.write(index, header, values[start:stop])
