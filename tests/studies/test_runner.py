"""A study runs every experiment on the backbones that have features, and the bundled study needs nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import BackboneError, FeatureError, StudyError
from changeling.experiments import probe_curve
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.registry import EXPERIMENTS
from changeling.experiments.retrieval import RetrievalSettings
from changeling.features.store import load_features
from changeling.studies.plan import plan_study
from changeling.studies.runner import (
    check_study,
    find_missing_text_encoder,
    list_backbones,
    open_dataset,
    run_experiments,
    select_backbones,
)
from changeling.studies.settings import Study
from tests import helpers
from tests.experiments.conftest import Plant, draw_files, store

ENCODING = {"reencoded", "robustness"}  # they load the backbone, and the planted features are by none
FAST = Study(settings={"disentangle": DisentangleSettings(epochs=5, min_steps=1, batch=128, lr=5e-3)})


def test_every_experiment_returns_a_result_with_its_name(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_curve, "MAX_EPOCHS", 20)
    seen: list[tuple[str, int, int]] = []
    dataset = plant(style=1.0, generators=2, with_captions=True)
    draw_files(dataset)
    results = list(run_experiments(dataset, FAST, progress=lambda *call: seen.append(call)))
    assert [result.experiment for result in results] == list(EXPERIMENTS)
    steps = {what for what, _, _ in seen if "loss" not in what}
    assert steps == set(EXPERIMENTS) - {"disentangle", "confounds", *ENCODING} | {"file properties"}
    assert {result.experiment for result in results if "Not run" in result.summary} == ENCODING
    assert all(done <= total for _, done, total in seen)
    assert all(result.dataset["clusters"] == 120 for result in results)
    assert {source.backbone for result in results for source in result.sources} == {"planted"}


def test_a_missing_dataset_is_an_error_that_names_the_commands(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"cocofake does not exist; .*`import cocofake`.*`changeling build`"):
        open_dataset(Study(dataset="cocofake"), tmp_path)


def test_clusters_with_one_child_are_studied_or_the_reason_is_given(plant: Plant) -> None:
    dataset = plant(style=1.0, children=1)
    results = {result.experiment: result for result in run_experiments(dataset, FAST)}
    assert results["distances"].summary.startswith("No cluster of the test split has a parent and two children")
    assert set(results["probe"].tables[0].rows[0].cells) >= {"test_overall", "test_full", "test_auroc"}
    for row in results["disentangle"].tables[0].rows:
        assert set(row.cells) == {f"{split}_{key}" for split in ("val", "test") for key in ("overall", "full")}


def test_a_study_of_several_seeds_has_their_mean(plant: Plant) -> None:
    dataset = plant(style=0.3, clusters=40)
    settings = {"probe": ProbeSettings(C=1.0)}
    studies = [Study(experiments=("probe",), settings=settings, seed=3, seeds=seeds) for seeds in (1, 2)]
    (one,), (both,) = (list(run_experiments(dataset, study)) for study in studies)
    (other,) = run_experiments(dataset, Study(experiments=("probe",), settings=settings, seed=4))
    values = [result.tables[0].rows[0].cells["test_auroc"].value for result in (one, other, both)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2)
    assert both.settings["seed"] == "3, 4"


def test_without_features_the_error_names_the_command(plant: Plant) -> None:
    dataset = plant(style=1.0)
    bare = write_dataset(dataset.path / "bare", [ImageRow(**row) for row in dataset.images.to_pylist()])
    with pytest.raises(FeatureError, match=r"run `changeling extract .* --backbone clip-vit-b16`"):
        list(run_experiments(bare, Study()))


def test_the_bundled_study_has_18_clusters() -> None:
    dataset = Dataset(BUNDLED["bundled:true-clusters"])
    clusters = {
        c
        for c, s in zip(dataset.column("cluster_id"), dataset.column("source"), strict=True)
        if s.startswith("clusters_")
    }
    assert len(clusters) == 18
    first, second = run_experiments(dataset, Study(experiments=("distances", "probe")))
    (table,) = first.tables
    assert {row.labels["Backbone"] for row in table.rows} == {"clip-vit-b16", "dinov2-vit-s14", "efficientnet-lite0"}
    assert all(cell.clusters == 12 for row in table.rows for key, cell in row.cells.items() if key == "test_max")
    for row in second.tables[0].rows[:3]:
        assert row.cells["test_auroc"].low < row.cells["test_auroc"].value <= row.cells["test_auroc"].high


def test_an_experiment_that_cannot_run_returns_a_result_with_the_reason(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [replace(ImageRow(**row), split="test") for row in dataset.images.to_pylist()]
    values = load_features(dataset, "planted").values
    alone = write_dataset(dataset.path / "test-only", rows)
    store(alone, "planted", values)
    results = {result.experiment: result for result in run_experiments(alone, FAST)}
    assert results["distances"].tables[0].rows
    probed = results["probe"]
    assert probed.summary == "Not run: the train split needs real and fake images to train a probe."
    assert (probed.title, probed.paper) == (EXPERIMENTS["probe"].title, "Table 2")
    planned = {step.name: step.input for step in plan_study(alone, FAST)}
    for name, result in results.items():
        if name != "distances":
            assert planned[name].removeprefix("not run: ") == result.summary.removeprefix("Not run: ")


def test_a_backbone_without_features_is_excluded(plant: Plant) -> None:
    dataset = plant(style=1.0)
    store(dataset, "empty", np.full((len(dataset), 8), np.nan, np.float32))
    results = list(run_experiments(dataset, FAST.model_copy(update={"experiments": ("distances", "probe")})))
    for result in results:
        assert {row.labels["Backbone"] for row in result.tables[0].rows} == {"planted"}
        assert "Excluded because no image has a feature: empty." in result.notes
    with pytest.raises(FeatureError, match="no image could be read for the features by empty"):
        select_backbones(dataset, ("empty",))


def test_the_bundled_clusters_accept_only_their_own_backbones() -> None:
    with pytest.raises(StudyError, match=r"features by clip-vit-b16, .* not by clip-vit-b16@pre, and their"):
        check_study(Dataset(BUNDLED["bundled:true-clusters"]), Study(backbones=("clip-vit-b16", "clip-vit-b16@pre")))


def test_a_backbone_named_twice_is_an_error(plant: Plant) -> None:
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


def test_backbones_that_cannot_be_loaded_are_errors_before_anything_runs(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = plant(style=1.0)
    with pytest.raises(BackboneError, match="unknown backbone 'clip-vit-b61'"):
        plan_study(dataset, Study(backbones=("planted", "clip-vit-b61")))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else name)
    for name in ("clip-vit-b32", "efficientnet-lite0"):
        with pytest.raises(BackboneError, match=rf"{name} .*changeling\[torch\]"):
            plan_study(dataset, Study(backbones=("planted", name)))


def test_an_unknown_generator_is_an_error_with_a_suggestion(plant: Plant) -> None:
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


def test_a_generator_without_training_children_is_the_reason(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    rows = [replace(r, generator="late") if r.split == "test" and r.role == "child" else r for r in rows]
    two = write_dataset(dataset.path / "two", rows)
    store(two, "planted", load_features(dataset, "planted").values)
    (result,) = run_experiments(two, Study(experiments=("probe",), settings={"probe": ProbeSettings(train_on="late")}))
    assert result.summary == "Not run: the train split has no children by 'late', which train_on names."


def test_captions_are_encoded_only_for_named_backbones_without_a_text_tower(plant: Plant) -> None:
    dataset = plant(style=1.0)
    assert find_missing_text_encoder(dataset, Study(backbones=("planted",))) == "minilm-l6"
    assert find_missing_text_encoder(dataset, Study(backbones=("clip-vit-b32", "clip-vit-b16"))) == "minilm-l6"
    for study in (
        Study(),
        Study(backbones=("clip-vit-b32", "open_clip:ViT-B-32/x@proj")),
        Study(backbones=("planted",), experiments=("probe",)),
        Study(backbones=("planted",), settings={"retrieval": RetrievalSettings(text_encoder="")}),
    ):
        assert find_missing_text_encoder(dataset, study) == ""
    few = plant(style=1.0, clusters=40, seed=1)
    assert find_missing_text_encoder(few, Study(backbones=("planted",))) == ""
