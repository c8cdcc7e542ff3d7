"""Table 3: children retrieve their planted captions, and are at chance if nothing was planted."""

from dataclasses import replace

import numpy as np
import pytest

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError, FeatureError
from changeling.experiments import retrieval
from changeling.experiments.base import Context
from changeling.experiments.retrieval import RetrievalSettings
from changeling.features.captions import extract_captions, load_caption_features
from changeling.features.store import load_features
from changeling.results.result import Row
from tests.experiments.conftest import Plant, make_text_backbone, store


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


def test_a_child_of_an_unknown_caption_still_counts_for_its_cluster(plant: Plant) -> None:
    dataset = plant(style=1.0, with_captions=True, own=2.0)
    expected = retrieval.run(Context(dataset, ["planted"]), RetrievalSettings()).tables[0].rows[0].cells
    caption_features = load_caption_features(dataset, "planted")
    assert caption_features is not None
    some, none = (forget_captions(dataset, step) for step in (3, 1))
    for forgetful in (some, none):
        extract_captions(forgetful, make_text_backbone(caption_features))
    cells = retrieval.run(Context(some, ["planted"]), RetrievalSettings()).tables[0].rows[0].cells
    assert (cells["test_exact_1"].images, cells["test_cluster_1"].images) == (36 * 2, 36 * 3)
    assert all(cells[f"test_cluster_{k}"] == expected[f"test_cluster_{k}"] for k in (1, 3, 5))
    result = retrieval.run(Context(none, ["planted"]), RetrievalSettings())
    assert set(result.tables[0].rows[0].cells) == {
        f"{split}_cluster_{k}" for split in ("val", "test") for k in (1, 3, 5)
    }
    assert result.summary.endswith("It is not known which caption a child was made from.")


def forget_captions(dataset: Dataset, step: int) -> Dataset:
    """Return a copy that does not know the caption of each `step`-th child."""
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    children = [row for row in rows if row.role == "child"]
    forgotten = {row.image_id for row in children[::step]}
    changed = [replace(row, caption_index=None) if row.image_id in forgotten else row for row in rows]
    copy = write_dataset(
        dataset.path.with_name(f"forgetful-{step}"),
        changed,
        [CaptionRow(**row) for row in dataset.captions.to_pylist()],
    )
    store(copy, "planted", load_features(dataset, "planted").values)
    return copy


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


def test_a_backbone_without_a_text_tower_needs_enough_captions_before_anything_is_extracted(plant: Plant) -> None:
    context = Context(plant(style=1.5, clusters=40), ["planted", "efficientnet-lite0"])
    with pytest.raises(DatasetError, match="needs 50 captioned parents in the train split"):
        retrieval.check(context, RetrievalSettings())
