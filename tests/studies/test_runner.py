"""A study runs every experiment over what has features; the bundled one runs for anyone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.demo import STUDY
from changeling.errors import BackboneError, DatasetError, FeatureError, StudyError
from changeling.experiments import gallery
from changeling.experiments.base import Context
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.gallery import GallerySettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.registry import EXPERIMENTS
from changeling.features.store import load_features
from changeling.studies.plan import plan_study
from changeling.studies.runner import check_study, list_backbones, run_study, select_backbones
from changeling.studies.settings import Study
from tests import helpers
from tests.experiments.conftest import Plant, draw_files, store

FAST = Study(settings={"disentangle": DisentangleSettings(epochs=5, batch=128, lr=5e-3)})


def test_every_experiment_gives_a_result_of_its_name(plant: Plant) -> None:
    seen: list[tuple[str, int, int]] = []
    dataset = plant(style=1.0, spoken=True)
    draw_files(dataset)
    results = list(run_study(dataset, FAST, progress=lambda *call: seen.append(call)))
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
    with pytest.raises(DatasetError, match="the image files of the test split do not exist"):
        gallery.run(Context(dataset, ["planted"]), GallerySettings())
    draw_files(dataset, "test")
    clusters, realism, verdicts = gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
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
    paths = [picture.path for strip in verdicts.strips for picture in strip.pictures]
    assert len(paths) == len(set(paths))
    assert {(p.role, p.label) for p in wrong["Real, labelled fake"]} == {("parent", "fake")}
    assert {(p.role, p.label) for p in wrong["Fake, labelled real"]} == {("child", "real")}


@pytest.mark.parametrize(("children", "shown"), [(1, [1]), (2, [1, 1]), (5, [3, 2])])
def test_few_children_are_shown_once(plant: Plant, children: int, shown: list[int]) -> None:
    dataset = plant(style=1.0)
    test = np.flatnonzero((dataset.column("split") == "test") & (dataset.labels == 1))[:children]
    for row in test:
        Image.new("RGB", (4, 4)).save(dataset.resolve_path(dataset.column("path")[row]))
    realism = next(
        sheet
        for sheet in gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
        if sheet.key == "realism"
    )
    assert [len(strip.pictures) for strip in realism.strips] == shown
    paths = [picture.path for strip in realism.strips for picture in strip.pictures]
    assert len(paths) == len(set(paths))


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
    probed = results["probe"]
    assert probed.summary == "Not run: the train split needs real and fake images to train a probe."
    assert (probed.title, probed.paper) == (EXPERIMENTS["probe"].title, "Table 2")
    planned = {step.name: step.input for step in plan_study(alone, FAST)}
    for name, result in results.items():
        if name != "distances":
            assert planned[name].removeprefix("not run: ") == result.summary.removeprefix("Not run: ")


def test_a_backbone_without_a_feature_does_not_stop_the_others(plant: Plant) -> None:
    dataset = plant(style=1.0)
    store(dataset, "empty", np.full((len(dataset), 8), np.nan, np.float32))
    results = list(run_study(dataset, FAST.model_copy(update={"experiments": ("distances", "probe")})))
    for result in results:
        assert {row.labels["Backbone"] for row in result.tables[0].rows} == {"planted"}
        assert "Excluded because no image has a feature: empty." in result.notes
    with pytest.raises(FeatureError, match="no image could be read for the features by empty"):
        select_backbones(dataset, ("empty",))


def test_the_bundled_clusters_are_studied_on_their_own_backbones_alone() -> None:
    with pytest.raises(StudyError, match=r"features by clip-vit-b16, .* not by clip-vit-b16@pre, and their"):
        check_study(Dataset(STUDY), Study(backbones=("clip-vit-b16", "clip-vit-b16@pre")))


def test_a_backbone_is_named_once(plant: Plant) -> None:
    with pytest.raises(StudyError, match="backbones names planted twice"):
        check_study(plant(style=1.0), Study(backbones=("planted", "planted")))


def test_backbone_with_and_without_its_default_layer_is_refused_before_extraction(
    tiny_dataset: Dataset, tiny_onnx: Path
) -> None:
    study = tiny_dataset.path.parent / "study.toml"
    names = [f"onnx:{tiny_onnx}", f"onnx:{tiny_onnx}@proj"]
    study.write_text(f'dataset = "{tiny_dataset.path.name}"\nbackbones = {names}\n')
    result = helpers.run_changeling("study", study)
    assert result.returncode == 2
    assert f"backbones names {names[0]} twice: @proj is its default layer; remove {names[1]}" in result.stderr
    assert not (tiny_dataset.path / "features").exists()


def test_layers_of_one_backbone_are_accepted(plant: Plant, tiny_onnx: Path) -> None:
    names = (f"onnx:{tiny_onnx}", f"onnx:{tiny_onnx}@pre")
    assert list_backbones(plant(style=1.0), Study(backbones=names)) == names


def test_backbones_that_cannot_be_loaded_are_said_before_anything_runs(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = plant(style=1.0)
    with pytest.raises(BackboneError, match="unknown backbone 'clip-vit-b61'"):
        plan_study(dataset, Study(backbones=("planted", "clip-vit-b61")))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else name)
    for name in ("clip-vit-b32", "efficientnet-lite0"):
        with pytest.raises(BackboneError, match=rf"{name} .*changeling\[torch\]"):
            plan_study(dataset, Study(backbones=("planted", name)))


def test_a_generator_is_hinted_at(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    children = [place for place, row in enumerate(rows) if row.role == "child"]
    for number, place in enumerate(children):
        rows[place] = replace(rows[place], generator=f"midjourney-{number % 20}" if number % 20 else "midjourney")
    many = write_dataset(dataset.path / "many", rows)
    store(many, "planted", load_features(dataset, "planted").values)
    for wanted, hint in (("midjorney", r"did you mean 'midjourney'\?"), ("x", r"choose one of all, .* and 13 more")):
        with pytest.raises(StudyError, match=rf"'{wanted}': the dataset has no children by it; {hint}$"):
            check_study(many, Study(settings={"probe": ProbeSettings(train_on=wanted)}))


def test_a_generator_without_children_to_train_on_is_named(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    rows = [replace(r, generator="late") if r.split == "test" and r.role == "child" else r for r in rows]
    two = write_dataset(dataset.path / "two", rows)
    store(two, "planted", load_features(dataset, "planted").values)
    (result,) = run_study(two, Study(experiments=("probe",), settings={"probe": ProbeSettings(train_on="late")}))
    assert result.summary == "Not run: the train split has no children by 'late', which probe.train_on names."
