"""Neighbours: the nearest training images are found after quantisation, a file restores them, and it is small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from changeling.detect.fitting import Projection
from changeling.detect.neighbours import (
    COMPONENTS,
    FILE_NAME,
    Neighbours,
    QuantisedMatrix,
    build_neighbours,
    load_neighbours,
)
from changeling.detect.training_set import ImageRows
from changeling.errors import ModelError

SKIPPED, DIM = 10, 210  # only the first 10 dimensions, which are skipped, are the same for all sources


def make_rows(count: int, sources: int) -> ImageRows:
    index = np.arange(count) % sources
    labels = index % 2
    generators = np.array([f"g{i}" if i % 2 else None for i in index], object)
    return ImageRows(labels, np.arange(count), np.array([f"s{i}" for i in index], object), generators)


def make_features(rows: ImageRows, noise: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Features that lie around a point of their source."""
    rng = np.random.default_rng(0)
    centres = {source: rng.normal(size=DIM) for source in sorted(set(rows.sources))}
    features = np.stack([centres[source] for source in rows.sources]) + noise * rng.normal(size=(len(rows.labels), DIM))
    features[:, :SKIPPED] = 1000 * rng.normal(size=(len(rows.labels), SKIPPED))
    return features.astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> ImageRows:
    return make_rows(240, 8)


@pytest.fixture(scope="module")
def features(rows: ImageRows) -> np.ndarray[Any, np.dtype[np.float32]]:
    return make_features(rows, noise=0.8)


@pytest.fixture(scope="module")
def projection(features: np.ndarray[Any, np.dtype[np.float32]]) -> Projection:
    return Projection.fit([features], SKIPPED, seed=0)


@pytest.fixture(scope="module")
def neighbours(features: np.ndarray[Any, np.dtype[np.float32]], rows: ImageRows, projection: Projection) -> Neighbours:
    return build_neighbours(features, rows, projection)


def test_a_training_image_finds_itself_then_images_of_its_source(
    neighbours: Neighbours, features: np.ndarray[Any, np.dtype[np.float32]], rows: ImageRows
) -> None:
    for row in range(0, 240, 17):
        nearest = neighbours.find_nearest(features[row], 6)
        assert nearest[0].distance == pytest.approx(0, abs=2e-3)
        assert {(n.source, n.generator) for n in nearest} == {(rows.sources[row], rows.generators[row])}
        assert {n.label for n in nearest} == {"fake" if rows.labels[row] else "real"}
        assert [n.distance for n in nearest] == sorted(n.distance for n in nearest)


def test_distances_are_cosine_distances_of_projected_features(
    neighbours: Neighbours, features: np.ndarray[Any, np.dtype[np.float32]], projection: Projection
) -> None:
    points = projection.transform(features)[:, :COMPONENTS].astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = np.sort(1 - points @ points[5])[:10]
    found = [neighbour.distance for neighbour in neighbours.find_nearest(features[5], 10)]
    assert found == pytest.approx(expected, abs=5e-3)


def test_a_file_restores_the_neighbours(
    neighbours: Neighbours, features: np.ndarray[Any, np.dtype[np.float32]], tmp_path: Path
) -> None:
    assert load_neighbours(tmp_path) is None
    neighbours.save(tmp_path)
    loaded = load_neighbours(tmp_path)
    assert loaded is not None
    assert loaded.find_nearest(features[3]) == neighbours.find_nearest(features[3])
    assert loaded.generators == neighbours.generators
    assert loaded.rank_distance(0.3) == neighbours.rank_distance(0.3)


def test_the_rank_of_a_distance_is_a_share_of_the_training_images(
    neighbours: Neighbours, features: np.ndarray[Any, np.dtype[np.float32]], rows: ImageRows, projection: Projection
) -> None:
    points = projection.transform(features)[:, :COMPONENTS]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = 1 - points @ points.T
    nearest = np.where(rows.sources[:, None] == rows.sources, np.inf, distances).min(axis=1)
    for distance in (0.0, 0.6, 0.8, 1.0, 2.0):
        assert neighbours.rank_distance(distance) == pytest.approx(np.mean(nearest < distance), abs=0.03)


def test_images_of_one_source_have_no_ranks() -> None:
    rows = make_rows(30, 1)
    features = make_features(rows, noise=1.0)
    neighbours = build_neighbours(features, rows, Projection.fit([features], SKIPPED, seed=0))
    assert neighbours.rank_distance(0.5) is None
    assert neighbours.find_nearest(features[0], 1)[0].source == "s0"


def test_a_feature_of_another_length_is_refused(neighbours: Neighbours) -> None:
    with pytest.raises(ModelError, match="need features of 200 numbers, not 16"):
        neighbours.find_nearest(np.ones(16, np.float32))


def test_six_thousand_images_of_the_bundled_backbone_take_less_than_2_mb(tmp_path: Path) -> None:
    count, dims = 6000, 9216
    names = [f"a_collection_with_a_long_name_{index % 300}" for index in range(count)]
    neighbours = Neighbours(
        mean=np.zeros(dims, np.float32),
        components=QuantisedMatrix(np.zeros((dims, COMPONENTS), np.int8), np.ones((dims, 1), np.float32)),
        points=QuantisedMatrix(np.zeros((count, COMPONENTS), np.int8), np.ones((1, COMPONENTS), np.float32)),
        labels=np.zeros(count, np.uint8),
        sources=names,
        generators=[*names],
        nearest_distances=np.zeros(101, np.float32),
    )
    neighbours.save(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_size < 2_000_000


def drop_points(tensors: dict[str, Any]) -> None:
    del tensors["points"]


def shorten_labels(tensors: dict[str, Any]) -> None:
    tensors["labels"] = tensors["labels"][:-1]


def name_an_unknown_source(tensors: dict[str, Any]) -> None:
    tensors["sources"] = tensors["sources"] + np.uint16(500)


@pytest.mark.parametrize("damage", [drop_points, shorten_labels, name_an_unknown_source])
def test_a_damaged_file_is_an_error(
    neighbours: Neighbours, damage: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    neighbours.save(tmp_path)
    tensors = load_file(tmp_path / FILE_NAME)
    damage(tensors)
    names = {"sources": sorted({*neighbours.sources}), "generators": ["", "g1", "g3", "g5", "g7"]}
    save_file(tensors, tmp_path / FILE_NAME, {"names": json.dumps(names)})
    with pytest.raises(ModelError, match=r"neighbours\.safetensors cannot be read: .*; train the detector again"):
        load_neighbours(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not tensors", b"\xff" * 100])
def test_a_file_of_another_format_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_neighbours(tmp_path)


@settings(max_examples=25)
@given(
    matrix=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e3, 1e3, width=32)),
    axis=st.sampled_from([0, 1]),
)
def test_quantised_numbers_are_off_by_half_a_scale_at_most(
    matrix: np.ndarray[Any, np.dtype[np.float32]], axis: int
) -> None:
    quantised = QuantisedMatrix.quantise(matrix, axis)
    assert (np.abs(quantised.restore() - matrix) <= 0.501 * quantised.scale + 1e-30).all()
