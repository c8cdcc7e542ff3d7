"""Robustness: its numbers are those of scikit-learn, and it says why it cannot run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments import robustness
from changeling.experiments.base import Context, Machine
from changeling.experiments.image_samples import draw_sample, sample_clusters
from changeling.experiments.linear_probe import ProbeSettings, fit_probe_on_rows
from changeling.experiments.robustness import RobustnessSettings
from changeling.experiments.robustness_tables import STRENGTHS, TRAININGS, Scores, build_tables, summarise
from changeling.features import transformed
from changeling.features.extract import extract
from changeling.features.store import load_features
from changeling.images.decode import read_image
from changeling.images.transformations import TRANSFORMATIONS, transform
from changeling.results.result import Result
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study
from tests import helpers
from tests.experiments.conftest import Plant

SETTINGS = RobustnessSettings(images=8, training_images=24)


@dataclass(frozen=True)
class Ran:
    """An experiment that ran: its dataset and its Result."""

    context: Context
    result: Result


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Ran:
    dataset = helpers.tiny_dataset(tmp_path_factory.mktemp("robustness") / "dataset", clusters=24)
    extract(dataset, tiny_backbone)
    context = Context(dataset, [tiny_backbone.name], seed=5)
    return Ran(context, robustness.run(context, SETTINGS))


def make_scores(rng: np.random.Generator, *, clusters: int = 40, shift: float = 2.0, kept: float = 1.0) -> Scores:
    """Return scores that tell real from fake by `shift`, and by `kept` of it on transformed images."""
    labels = np.tile([0, 1, 1], clusters)
    shape = (len(labels), 1 + len(STRENGTHS))
    noise = {training: rng.normal(size=shape) for training in TRAININGS}
    signal = shift * (labels[:, None] - 0.5) * np.array([1.0] + [kept] * len(STRENGTHS))
    values = {"clean": noise["clean"] + signal, "mixed": noise["mixed"] + shift * (labels[:, None] - 0.5)}
    return Scores("b", labels, np.repeat(np.arange(clusters), 3), values, validation=0.9)


def test_every_number_of_the_tables_is_that_of_scikit_learn() -> None:
    scores = make_scores(np.random.default_rng(0), kept=0.3)
    robust, means, strengths = build_tables([scores])
    for training in TRAININGS:
        values = scores.values[training]
        cells = robust.rows[0].cells
        assert cells[f"{training}_unchanged"].value == pytest.approx(roc_auc_score(scores.labels, values[:, 0]))
        together = roc_auc_score(np.repeat(scores.labels, values.shape[1]), values.ravel())
        assert cells[f"{training}_robust"].value == pytest.approx(together)
        for column, row in enumerate(strengths.rows, start=1):
            predicted = (values[:, column] > 0).astype(int)
            wrong = scores.clusters[predicted != scores.labels]
            expected = {
                "auroc": roc_auc_score(scores.labels, values[:, column]),
                "accuracy": accuracy_score(scores.labels, predicted),
                "full": 1 - len(set(wrong)) / 40,
                "fpr": predicted[scores.labels == 0].mean(),
            }
            assert {key: row.cells[f"{training}_{key}"].value for key in expected} == pytest.approx(expected)
            assert (row.labels["Transformation"], row.labels["Strength"]) == (
                STRENGTHS[column - 1][0],
                f"{STRENGTHS[column - 1][1]:g}",
            )
        for row in means.rows[1:]:
            own = [each for each in strengths.rows if each.labels["Transformation"] == row.labels["Images"]]
            for key, cell in row.cells.items():
                assert cell.value == pytest.approx(np.mean([each.cells[key].value for each in own]))
                assert cell.low <= cell.value <= cell.high


def test_the_result_is_that_of_probes_on_features_of_the_transformed_files(
    ran: Ran, tiny_backbone: OnnxBackbone
) -> None:
    dataset, labels = ran.context.dataset, ran.context.dataset.labels
    sample = draw_sample(ran.context, SETTINGS)
    values = load_features(dataset, tiny_backbone.name).values
    clean = fit_probe_on_rows(values, labels, sample.train, sample.val)
    scores = []
    for row in sample.test:
        image = read_image(dataset.resolve_path(dataset.column("path")[row])).image
        key = f"5/{dataset.column('image_id')[row]}"
        images = [image] + [transform(image, TRANSFORMATIONS[name], strength, key) for name, strength in STRENGTHS]
        pixels = np.stack([tiny_backbone.preprocessing(changed) for changed in images])
        scores.append(clean.predict_scores(tiny_backbone.encode(pixels)))
    expected = roc_auc_score(np.repeat(labels[sample.test], len(scores[0])), np.concatenate(scores))
    cells = ran.result.tables[0].rows[0].cells
    assert cells["clean_robust"].value == pytest.approx(expected, abs=0.002)  # encoded in other batches
    assert cells["clean_robust"].images == len(sample.test)


def test_the_second_probe_learns_from_each_training_image_twice(ran: Ran) -> None:
    train = draw_sample(ran.context, SETTINGS).train
    variants = robustness._draw_variants(ran.context, train)
    assert [variant.row for variant in variants] == train.tolist()
    assert len({variant.transformation for variant in variants}) > 5
    assert ran.result.settings["training images"] == len(train)


def test_with_a_given_c_no_validation_image_is_encoded(ran: Ran) -> None:
    context = replace(ran.context, settings={"probe": ProbeSettings(C=0.5, standardise=False)})
    result = robustness.run(context, SETTINGS)
    assert result.settings["images to choose C on"] == 0
    assert {value for key, value in result.settings.items() if key.startswith("C of")} == {0.5}


def test_plots_begin_with_the_unchanged_images(ran: Ran) -> None:
    unchanged = ran.result.tables[0].rows[0].cells["clean_unchanged"].value
    assert len(ran.result.plots) == len(TRANSFORMATIONS)
    for plot, transformation in zip(ran.result.plots, TRANSFORMATIONS.values(), strict=True):
        assert plot.curves[0].y[0] == unchanged
        assert len(plot.curves[0].x) == 1 + len(transformation.strengths)


def test_a_second_run_encodes_nothing_and_is_the_same(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformed, "load_backbone", None)
    assert robustness.run(ran.context, SETTINGS) == ran.result


def test_the_plan_counts_what_is_not_encoded_yet(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(speed=1e11, dims={ran.context.backbones[0]: 16, "clip-vit-b16": 512, "dinov2-vit-s14": 384})
    sample = draw_sample(ran.context, SETTINGS)
    count = len(sample.train) + len(sample.val) + len(sample.test) * len(STRENGTHS)
    costs = {}
    for name in ("clip-vit-b16", "dinov2-vit-s14"):
        context = Context(ran.context.dataset, [name], seed=5)
        costs[name] = robustness.cost(context, SETTINGS, machine)
        assert costs[name].input == f"{count:,} transformed images to encode"
    assert costs["clip-vit-b16"].seconds > costs["dinov2-vit-s14"].seconds > 10
    monkeypatch.setattr(Machine, "estimate_encoding", lambda *_: 0.0)  # a backbone without an alias
    assert robustness.cost(ran.context, SETTINGS, machine).input.startswith("0 transformed images")


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset")
    extract(dataset, tiny_backbone)
    context = Context(dataset, [tiny_backbone.name])
    settings = RobustnessSettings(images=4, training_images=8)
    row = draw_sample(context, settings).test[1]
    dataset.resolve_path(dataset.column("path")[row]).unlink()
    result = robustness.run(context, settings)
    assert any("1 test image." in note for note in result.notes)
    images = len(draw_sample(context, settings).test) - 1
    assert {cell.images for table in result.tables for row in table.rows for cell in row.cells.values()} == {images}


def test_clusters_are_sampled_whole_and_from_both_classes(ran: Ran) -> None:
    dataset = ran.context.dataset
    rows = np.flatnonzero(dataset.column("split") == "test")
    for images in (2, 5, 9):
        sampled = sample_clusters(dataset, rows, images, seed=1)
        assert len(sampled) >= images
        assert set(dataset.labels[sampled]) == {0, 1}
        chosen = set(dataset.clusters[sampled])
        assert set(sampled) == {row for row in rows if dataset.clusters[row] in chosen}
        np.testing.assert_array_equal(sampled, sample_clusters(dataset, rows, 14, seed=1)[: len(sampled)])
    assert len(sample_clusters(dataset, rows, 10_000, seed=1)) == len(rows)


def test_single_images_are_sampled_from_both_classes_in_turn(plant: Plant) -> None:
    dataset = plant(style=1.0, children=9)
    children = np.flatnonzero(dataset.labels == 1)[:500]
    parents = np.flatnonzero(dataset.labels == 0)[-20:]  # of other clusters
    sampled = sample_clusters(dataset, np.sort(np.concatenate([children, parents])), 40, seed=0)
    assert 3 <= (dataset.labels[sampled] == 0).sum() <= 5  # a child's cluster has nine images


def test_features_without_image_files_are_not_enough() -> None:
    (result,) = run_experiments(Dataset(BUNDLED["bundled:true-clusters"]), Study(experiments=("robustness",)))
    assert result.summary == "Not run: the image files do not exist, so they cannot be transformed."


def test_a_backbone_that_cannot_be_loaded_is_the_reason(ran: Ran) -> None:
    with pytest.raises(DatasetError, match="no backbone can encode transformed images: unknown backbone 'mine'"):
        robustness.check(Context(ran.context.dataset, ["mine"]), SETTINGS)


def test_a_backbone_with_other_weights_is_the_reason(tmp_path: Path, tiny_onnx: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(tiny_onnx.read_bytes())
    dataset = helpers.tiny_dataset(tmp_path / "dataset")
    extract(dataset, helpers.tiny_backbone(own))
    helpers.tiny_onnx(own, seed=1)
    with pytest.raises(DatasetError, match=r"Excluded, because it cannot encode .* has other weights"):
        robustness.run(Context(dataset, [f"onnx:{own}"]), SETTINGS)


def test_a_test_split_of_one_class_is_the_reason(plant: Plant) -> None:
    dataset = plant(style=1.0)
    context = Context(dataset, ["clip-vit-b16"], settings={"probe": ProbeSettings(C=1.0)})
    dataset.labels[dataset.column("split") == "test"] = 1
    with pytest.raises(DatasetError, match="the test split needs real and fake images"):
        robustness.check(context, SETTINGS)


def test_the_summary_names_what_breaks_the_probe() -> None:
    rng = np.random.default_rng(1)
    scores = make_scores(rng, clusters=100)
    columns = [place for place, (name, _) in enumerate(STRENGTHS, start=1) if name == "blur"]
    scores.values["clean"][:, columns] = rng.normal(size=(300, 5))
    text = summarise([scores])
    assert "; blur breaks it most, to " in text
    assert "on average over 5 strengths, and it withstands " in text
    assert text.endswith("which is higher.")
    assert text.count(". ") == 1  # two sentences


def test_the_summary_says_what_the_data_cannot_tell() -> None:
    rng = np.random.default_rng(4)
    assert "which may be chance" in summarise([make_scores(rng, shift=0.0)])
    few = make_scores(rng, clusters=12, shift=3.0, kept=0.95)
    assert "no transformation lowers it by more than these data can tell" in summarise([few])
    broken = make_scores(rng, clusters=100, kept=0.0)
    assert "and each of the 15 transformations lowers it" in summarise([broken])


def test_the_summary_is_about_the_backbone_that_is_best_on_validation() -> None:
    rng = np.random.default_rng(3)
    first, second = make_scores(rng), make_scores(rng)
    second = Scores("second", second.labels, second.clusters, second.values, validation=0.95)
    assert "on second features, the best on validation," in summarise([first, second])
    assert "on b features has" in summarise([Scores("b", first.labels, first.clusters, first.values, float("nan"))])
