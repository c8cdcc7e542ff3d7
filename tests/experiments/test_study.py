"""A study runs every experiment over what has features; the bundled one runs for anyone."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from changeling.clusters.manifest import Dataset, ImageRow, write_dataset
from changeling.demo import STUDY
from changeling.errors import FeatureError
from changeling.experiments import gallery
from changeling.experiments.common import Context
from changeling.experiments.settings import DisentangleSettings, Study
from changeling.experiments.study import EXPERIMENTS, run_study
from changeling.features.store import load_features
from tests.experiments.conftest import Plant, store

FAST = Study(disentangle=DisentangleSettings(epochs=5, batch=128, lr=5e-3))


def test_every_experiment_gives_a_result_of_its_name(plant: Plant) -> None:
    seen: list[tuple[str, int, int]] = []
    results = list(run_study(plant(style=1.0, spoken=True), FAST, progress=lambda *call: seen.append(call)))
    assert [result.experiment for result in results] == list(EXPERIMENTS)
    assert {what for what, _, _ in seen if "loss" not in what} == set(EXPERIMENTS) - {"disentangle"}
    assert not [result for result in results if "Not run" in result.summary]
    assert all(done <= total for _, done, total in seen)
    assert all(result.dataset["clusters"] == 120 for result in results)
    assert {source.backbone for result in results for source in result.sources} == {"planted"}


def test_without_features_the_command_is_named(plant: Plant) -> None:
    dataset = plant(style=1.0)
    bare = write_dataset(dataset.path / "bare", [ImageRow(**row) for row in dataset.images.to_pylist()])
    with pytest.raises(FeatureError, match=r"run `changeling extract .* --backbone clip-vit-b16`"):
        list(run_study(bare, Study()))


def test_the_gallery_shows_the_files_that_exist(plant: Plant) -> None:
    dataset = plant(style=1.0)
    assert gallery.run(Context(dataset, ["planted"])).sheets == ()
    test = np.flatnonzero(dataset.column("split") == "test")
    for row in test:
        Image.new("RGB", (4, 4)).save(dataset.file(dataset.column("path")[row]))
    clusters, realism, verdicts = gallery.run(Context(dataset, ["planted"])).sheets
    assert len(clusters.strips) == 12
    first = clusters.strips[0]
    assert [picture.role for picture in first.pictures] == ["parent", "child", "child", "child"]
    assert first.caption == f"caption {first.title[1:]}"
    most, least = ([p.probability or 0 for p in strip.pictures] for strip in realism.strips)
    assert most == sorted(most)
    assert least == sorted(least, reverse=True)
    assert most[-1] < least[-1]
    assert {p.role for strip in realism.strips for p in strip.pictures} == {"child"}
    wrong = {strip.title.partition(":")[0]: strip.pictures for strip in verdicts.strips}
    assert {(p.role, p.label) for p in wrong["Real, called fake"]} == {("parent", "fake")}
    assert {(p.role, p.label) for p in wrong["Fake, called real"]} == {("child", "real")}


def test_the_bundled_study_has_18_clusters_and_says_so() -> None:
    dataset = Dataset(STUDY)
    clusters = {
        c
        for c, s in zip(dataset.column("cluster_id"), dataset.column("source"), strict=True)
        if s.startswith("clusters_")
    }
    assert len(clusters) == 18
    first, second = run_study(dataset, Study(experiments=("distances", "probe")))
    (table,) = first.tables
    assert {row.labels["Backbone"] for row in table.rows} == {"clip-vit-b16", "dinov2-vit-s14", "efficientnet-lite0"}
    assert all(cell.clusters == 12 for row in table.rows for key, cell in row.cells.items() if key == "test_max")
    for row in second.tables[0].rows[:3]:
        assert row.cells["test_auroc"].low < row.cells["test_auroc"].value <= row.cells["test_auroc"].high


def test_what_cannot_be_run_is_a_result_that_says_so(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [replace(ImageRow(**row), split="test") for row in dataset.images.to_pylist()]
    values = load_features(dataset, "planted").values
    alone = write_dataset(dataset.path / "test-only", rows)
    store(alone, "planted", values)
    results = {result.experiment: result for result in run_study(alone, FAST)}
    assert results["distances"].tables[0].rows
    assert "the train split needs real and fake images" in results["probe"].summary
