"""Table 3: children retrieve their planted captions, and are at chance if nothing was planted."""

import numpy as np
import pytest

from changeling.errors import DatasetError, FeatureError
from changeling.experiments import retrieval
from changeling.experiments.base import Context
from changeling.experiments.retrieval import RetrievalSettings
from changeling.features.captions import extract_captions, load_caption_features
from changeling.results.result import Row
from tests.experiments.conftest import Plant, make_text_backbone


def row(plant: Plant, **planted: float) -> Row:
    (table,) = retrieval.run(
        Context(plant(style=1.0, with_captions=True, **planted), ["planted"]), RetrievalSettings()
    ).tables
    return table.rows[0]


def test_a_child_retrieves_its_planted_caption(plant: Plant) -> None:
    cells = row(plant, own=2.0).cells
    assert cells["test_exact_1"].value > 0.9
    assert cells["test_cluster_1"].value >= cells["test_exact_1"].value
    assert (cells["test_exact_1"].images, cells["test_exact_1"].clusters) == (36 * 3, 36)


def test_equal_captions_retrieve_the_cluster_but_not_the_exact_pair(plant: Plant) -> None:
    cells = row(plant, own=0.0).cells  # three captions with one feature: ties, settled against the query
    assert cells["test_cluster_1"].value > 0.9
    assert cells["test_exact_1"].value == 0.0
    assert cells["test_exact_3"].value > 0.9


def test_random_captions_are_retrieved_at_chance(plant: Plant) -> None:
    dataset = plant(style=1.0, clusters=600)
    shuffled = np.random.default_rng(0).normal(size=(1800, 24)).astype(np.float32)
    extract_captions(dataset, make_text_backbone(shuffled))
    (table,) = retrieval.run(Context(dataset, ["planted"]), RetrievalSettings()).tables
    chances = {column.key: column.chance for column in table.columns}
    assert chances["test_exact_1"] == pytest.approx(1 / 540)
    for key, cell in table.rows[0].cells.items():
        assert cell.low - 0.002 <= (chances[key] or 0) <= cell.high + 0.002, key


def test_without_captions_the_error_names_the_command(plant: Plant) -> None:
    with pytest.raises(DatasetError, match=r"a backbone with a text tower, such as clip-vit-b32"):
        retrieval.run(Context(plant(style=1.0), ["planted"]), RetrievalSettings())


def test_features_of_other_captions_are_refused(plant: Plant) -> None:
    dataset = plant(style=1.0, with_captions=True)
    other = plant(style=1.0, clusters=60, seed=1)
    folder = other.path / "features" / "planted"
    (folder / "captions-00000.safetensors").write_bytes(
        (dataset.path / "features" / "planted" / "captions-00000.safetensors").read_bytes()
    )
    with pytest.raises(FeatureError, match="other captions"):
        load_caption_features(other, "planted")
