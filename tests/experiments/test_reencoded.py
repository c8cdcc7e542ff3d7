"""What comes from the files is lost when they are encoded alike; what is in the pictures stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import SPLITS, ImageRow
from changeling.experiments import reencoded
from changeling.experiments.base import Context, Machine
from changeling.experiments.image_samples import draw_sample
from changeling.experiments.linear_probe import ProbeSettings, fit_probe_on_rows
from changeling.experiments.reencoded import ReencodedSettings
from changeling.features import transformed
from changeling.features.extract import extract
from changeling.features.store import load_features
from changeling.images.decode import read_image
from changeling.images.encode import reencode_for_web
from changeling.results.result import Estimate, Result, Row
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study
from tests import helpers

SETTINGS = ReencodedSettings(images=60, training_images=120)
Save = Callable[[Image.Image, Path], None]


def save_darker(image: Image.Image, path: Path) -> None:
    """Save a darker picture, and so a trace that survives."""
    image.point(lambda value: value // 3).save(path, "PNG")


def make_context(folder: Path, backbone: OnnxBackbone, save_fake: Save, clusters: int = 80) -> Context:
    """Write clusters of a photograph and a copy of it that `save_fake` saves, and extract their features."""
    folder.mkdir()
    images = []
    for number in range(clusters):
        photograph = helpers.natural(number, 96)
        photograph.save(folder / f"{number}-real.png")
        save_fake(photograph, folder / f"{number}-fake.img")
        split = SPLITS[number % 4 % 3]
        real, fake = f"{number}-real.png", f"{number}-fake.img"
        images.append(ImageRow(real, str(number), "parent", real, split))
        images.append(ImageRow(fake, str(number), "child", fake, split, generator="copy"))
    dataset = write_dataset(folder, images, [])
    extract(dataset, backbone)
    return Context(dataset, [backbone.name], seed=3)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Context:
    return make_context(tmp_path_factory.mktemp("reencoded") / "dataset", tiny_backbone, save_darker)


@pytest.fixture(scope="module")
def result(context: Context) -> Result:
    return reencoded.run(context, SETTINGS)


def test_every_cell_is_that_of_scikit_learn(context: Context, result: Result, tiny_backbone: OnnxBackbone) -> None:
    dataset, labels = context.dataset, context.dataset.labels
    sample = draw_sample(context, SETTINGS)
    shipped = load_features(dataset, tiny_backbone.name).values
    reencoded_values = np.zeros_like(shipped)
    for row in np.concatenate([sample.train, sample.val, sample.test]):
        image = reencode_for_web(read_image(dataset.resolve_path(dataset.column("path")[row])).image)
        reencoded_values[row] = tiny_backbone.encode(tiny_backbone.preprocessing(image)[None])[0]
    cells = result.tables[0].rows[0].cells
    aurocs = {}
    for encoding, values in {"shipped": shipped, "reencoded": reencoded_values}.items():
        scores = fit_probe_on_rows(values, labels, sample.train, sample.val).predict_scores(values[sample.test])
        aurocs[encoding] = roc_auc_score(labels[sample.test], scores)
        assert cells[f"{encoding}_auroc"].value == pytest.approx(aurocs[encoding], abs=0.01)  # encoded in other batches
        balanced = balanced_accuracy_score(labels[sample.test], scores > 0)
        assert cells[f"{encoding}_balanced"].value == pytest.approx(balanced, abs=0.03)
        assert cells[f"{encoding}_auroc"].images == len(sample.test)
    assert cells["lost"].value == pytest.approx(aurocs["shipped"] - aurocs["reencoded"], abs=0.01)


def test_a_trace_in_the_picture_stays(result: Result) -> None:
    cells = result.tables[0].rows[0].cells
    assert cells["reencoded_auroc"].low > 0.6
    assert "no loss that these data can tell" in result.summary or cells["lost"].low > 0


def test_images_that_differ_in_nothing_are_at_chance(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    copies = make_context(tmp_path / "copies", tiny_backbone, lambda image, path: image.save(path, "PNG"), clusters=40)
    cells = reencoded.run(copies, SETTINGS).tables[0].rows[0].cells
    assert {cells[key].value for key in ("shipped_auroc", "reencoded_auroc")} == {0.5}
    assert cells["lost"].value == 0


def test_a_second_run_encodes_nothing_and_is_the_same(
    context: Context, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformed, "load_backbone", None)
    assert reencoded.run(context, SETTINGS) == result
    machine = Machine(speed=1e11, dims={context.backbones[0]: 16})
    monkeypatch.setattr(Machine, "estimate_encoding", lambda *_: 0.0)  # a backbone without an alias
    assert reencoded.cost(context, SETTINGS, machine).input.startswith("0 transformed images")


def test_with_a_given_c_no_validation_image_is_encoded(context: Context) -> None:
    given = replace(context, settings={"probe": ProbeSettings(C=0.5)})
    settings = reencoded.run(given, SETTINGS).settings
    assert settings["images to choose C on"] == 0
    assert {value for key, value in settings.items() if key.startswith("C of")} == {0.5}


@pytest.mark.parametrize(
    ("low", "says"),
    [
        (0.02, "10.0 points (2.0 to 18.0) come from the files, or from detail"),
        (-0.02, "no loss that these data can tell"),
    ],
)
def test_the_summary_blames_the_files_only_if_the_interval_does(low: float, says: str) -> None:
    counts = {"clusters": 40, "images": 80}
    cells = {
        "shipped_auroc": Estimate(value=0.8, low=0.7, high=0.9, **counts),
        "reencoded_auroc": Estimate(value=0.7, low=0.6, high=0.8, **counts),
        "lost": Estimate(value=0.1, low=low, high=0.18, **counts),
    }
    assert says in reencoded._summarise(Row(labels={"Backbone": "b"}, cells=cells))


def test_features_without_image_files_are_not_enough() -> None:
    (result,) = run_experiments(Dataset(BUNDLED["bundled:true-clusters"]), Study(experiments=("reencoded",)))
    assert result.summary == "Not run: the image files do not exist, so they cannot be transformed."
