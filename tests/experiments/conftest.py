"""Planted features: clusters whose semantics and style are known, so that every answer is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from changeling.clusters.manifest import CaptionRow, Dataset, ImageRow, Split, write_dataset
from changeling.features.store import Header, images_hash, part_path, part_rows, write_part

Plant = Callable[..., Dataset]
DIM = 24


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Make a dataset of clusters with a parent and `children` whose features are meaning + style + noise."""

    def make(*, style: float, clusters: int = 120, children: int = 3, generators: int = 1, seed: int = 0) -> Dataset:
        rng = np.random.default_rng(seed)
        shares: dict[Split, float] = {"train": 0.5, "val": 0.2, "test": 0.3}
        splits = [split for split, share in shares.items() for _ in range(round(share * clusters))]
        rows, features, captions = [], [], []
        for cluster, split in enumerate(splits):
            meaning = rng.normal(size=DIM)
            captions.append(CaptionRow(f"c{cluster}", 0, f"caption {cluster}"))
            for member in range(1 + children):
                child = member > 0
                rows.append(
                    ImageRow(
                        image_id=f"c{cluster}-{member}",
                        cluster_id=f"c{cluster}",
                        role="child" if child else "parent",
                        path=f"{cluster}-{member}.jpg",
                        split=split,
                        generator=f"g{member % generators}" if child else None,
                        sha256=f"{cluster}-{member}",
                    )
                )
                direction = np.eye(DIM)[0] * (style if child else -style)
                features.append(meaning + direction + 0.3 * rng.normal(size=DIM))
        dataset = write_dataset(tmp_path / f"planted-{style}-{seed}", rows, captions)
        store(dataset, "planted", np.array(features, np.float32))
        return dataset

    return make


def store(dataset: Dataset, backbone: str, values: np.ndarray) -> None:
    """Put features into a dataset as an extraction would."""
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        header = Header(
            backbone=backbone,
            weights="w",
            preprocessing="p",
            rows=(start, stop),
            images=images_hash(dataset, start, stop),
        )
        write_part(part_path(dataset, backbone, index), header, values[start:stop])
