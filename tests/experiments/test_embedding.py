"""Figures 6 and 7 are the embeddings of openTSNE, of the images that the result names."""

import numpy as np
import pytest
from openTSNE import TSNE

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import embedding
from changeling.experiments.base import Context
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.embedding import EmbeddingSettings
from changeling.features.store import load_features
from changeling.results.result import Cloud
from tests.experiments.conftest import Plant

FAST = DisentangleSettings(epochs=20, min_steps=1, batch=128, lr=5e-3)


def make_context(dataset: Dataset) -> Context:
    return Context(dataset, ["planted"], settings={"disentangle": FAST})


def test_maps_show_the_validation_split_and_eight_of_its_clusters(plant: Plant) -> None:
    dataset = plant(style=1.0)
    result = embedding.run(make_context(dataset), EmbeddingSettings(clusters=10))
    figure6, figure7 = result.maps
    assert [cloud.title for cloud in figure6.clouds] == ["Raw features", "After T", "After S"]
    for cloud in figure6.clouds:
        assert len(cloud.x) == 40
        assert sum(cloud.child) == 30
        assert cloud.group == tuple(int(child) for child in cloud.child)
    assert len(figure7.groups) == 8
    for cloud in figure7.clouds:
        assert np.bincount(cloud.group).tolist() == [4] * 8
    val = set(dataset.column("cluster_id")[dataset.column("split") == "val"])
    assert set(figure7.groups) <= val
    assert embedding.run(make_context(dataset), EmbeddingSettings(clusters=10)) == result


def test_the_perplexity_used_is_in_the_settings(plant: Plant) -> None:
    name = "perplexity (about how many neighbours count)"
    context = make_context(plant(style=1.0))
    assert embedding.run(context, EmbeddingSettings(clusters=10)).settings[name] == 13  # of 40 images, not 30
    assert embedding.run(context, EmbeddingSettings(clusters=10, perplexity=5)).settings[name] == 5
    settings = embedding.run(
        make_context(plant(style=1.0, children=4, generators=2, seed=1)), EmbeddingSettings()
    ).settings
    assert [settings[f"{name} of {label}"] for label in ("all generators", "g0", "g1")] == [30, 71 / 3, 71 / 3]


def test_t_separates_real_and_fake_and_s_keeps_clusters_together(plant: Plant) -> None:
    result = embedding.run(make_context(plant(style=0.7, clusters=400, apart=True)), EmbeddingSettings())
    raw, t, s = result.maps[0].clouds

    def share_next_to_a_parent(cloud: Cloud) -> float:
        points = np.stack([cloud.x, cloud.y], axis=1)
        distance = np.linalg.norm(points[:, None] - points, axis=2)
        np.fill_diagonal(distance, np.inf)
        child = np.array(cloud.child)
        parents = np.flatnonzero(~child)
        return float(np.mean(~child[distance[parents].argmin(axis=1)]))  # of parents whose nearest is a parent

    assert share_next_to_a_parent(t) > 0.9 > 0.3 > share_next_to_a_parent(s)
    assert share_next_to_a_parent(raw) < share_next_to_a_parent(t)


def test_the_embedding_is_that_of_opentsne(plant: Plant) -> None:
    values = load_features(plant(style=1.0), "planted").values[:100]
    theirs = TSNE(perplexity=30, metric="cosine", initialization="pca", random_state=3, n_jobs=1).fit(values)
    np.testing.assert_array_equal(embedding.embed(values, 30, 3), np.asarray(theirs))


def test_too_few_clusters_are_an_error(plant: Plant) -> None:
    with pytest.raises(DatasetError, match="8 clusters"):
        embedding.run(make_context(plant(style=1.0, clusters=20)), EmbeddingSettings())
