"""The datasets in the package are complete: every image that they list has a feature by each backbone."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.features.store import list_extracted_backbones, load_features

BACKBONES = {"clip-vit-b16": 512, "dinov2-vit-s14": 384, "efficientnet-lite0": 1280}


@pytest.mark.parametrize("name", BUNDLED)
def test_every_image_has_a_finite_feature_by_each_backbone(name: str) -> None:
    dataset = Dataset(BUNDLED[name])
    assert set(list_extracted_backbones(dataset)) == set(BACKBONES)
    for backbone, dim in BACKBONES.items():
        features = load_features(dataset, backbone)
        assert features.values.shape == (len(dataset), dim)
        assert features.valid.all()
        assert np.isfinite(features.values).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_the_card_has_the_hash_and_the_splits_of_the_dataset(name: str) -> None:
    dataset = Dataset(BUNDLED[name])
    card = json.loads((dataset.path / "card.json").read_text("utf-8"))
    assert card["hash"] == dataset.hash
    assert card["splits"] == Counter(dataset.column("split"))


def test_each_photograph_has_one_reconstruction_by_each_autoencoder_in_its_own_encoding() -> None:
    dataset = Dataset(BUNDLED["bundled:reconstructions"])
    generators = set(dataset.column("generator")) - {None}
    assert len(generators) == 5
    columns = [dataset.column(name) for name in ("generator", "split", "width", "height", "format")]
    for cluster in np.unique(dataset.clusters):
        rows = np.flatnonzero(dataset.clusters == cluster)
        assert Counter(columns[0][rows]) == Counter([None, *generators])
        assert all(len(set(column[rows])) == 1 for column in columns[1:])
