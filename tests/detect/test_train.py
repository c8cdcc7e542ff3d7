"""Training: a planted difference is found, metrics come from held-out images, and the detector works."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.folder import read_folder
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.detect.cross_validation import FOLDS, HeldOutScores, split_folds
from changeling.detect.detector import Detector
from changeling.detect.evaluation import measure_held_out
from changeling.detect.fitting import fit_logistic_regression
from changeling.detect.held_out import HELD_OUT_FILE, HeldOutImages
from changeling.detect.model import load_model
from changeling.detect.neighbours import load_neighbours
from changeling.detect.train import TrainingSettings, train_detector
from changeling.detect.training_set import ImageRows, compute_sample_weights, read_rows
from changeling.errors import DatasetError, FeatureError
from changeling.features.store import list_extracted_backbones
from tests import helpers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of thirty natural images and thirty with a green cast, which no augmentation removes."""
    for number in range(30):
        for name in ("real", f"fake/g{number % 3}"):
            image = helpers.natural(number + 100 * len(name), side=96)
            if name != "real":
                image = Image.blend(image, Image.new("RGB", image.size, (0, 255, 0)), 0.6)
            path = tmp_path / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return tmp_path / "images"


def make_rows(count: int = 400, seed: int = 0) -> ImageRows:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    sources = rng.choice([f"s{i}" for i in range(24)], count).astype(object)
    names = [f"g{source[1:]}" if label else None for label, source in zip(labels, sources, strict=True)]
    generators = np.array(names, object)
    return ImageRows(labels, np.arange(count) // 2, sources, generators)


def test_a_detector_is_trained_measured_saved_and_loaded(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = import_dataset(read_folder(folder), tmp_path / "dataset")
    settings = TrainingSettings(seed=1)
    trained = train_detector(dataset, tmp_path / "mine", backbone=f"onnx:{tiny_onnx}", settings=settings).trained
    overall, copies = trained.model.held_out[:2]
    assert (overall.generator, overall.images, copies.generator) == ("all", 30, "all, cropped and re-saved")
    assert overall.auroc[0] > 0.8
    assert overall.auroc[1] <= overall.auroc[0] <= overall.auroc[2]
    assert (trained.model.name, trained.model.trained_on["real images"]) == ("mine", 30)
    assert trained.model.real_below <= trained.model.fake_above
    loaded = load_model(tmp_path / "mine")
    assert loaded.model == trained.model
    features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    assert loaded.predict_probabilities(features) == pytest.approx(trained.predict_probabilities(features), abs=1e-5)
    neighbours = load_neighbours(tmp_path / "mine")
    assert neighbours is not None
    assert (len(neighbours.sources), set(neighbours.generators)) == (60, {None, "g0", "g1", "g2"})
    detector = Detector.load(tmp_path / "mine")
    fakes = list(detector.detect(sorted((folder / "fake").rglob("*.png"))))
    reals = list(detector.detect(sorted((folder / "real").rglob("*.png"))))
    means = [np.mean([verdict.probability or 0.0 for verdict in some]) for some in (reals, fakes)]
    assert means[1] > means[0] + 0.3
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"| all | 30 | {overall.auroc[0]:.3f}" in card


def test_thresholds_of_images_that_are_easy_to_tell_are_the_same_and_noted(
    folder: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    dataset, notes = import_dataset(read_folder(folder), tmp_path / "dataset"), list[str]()
    train_detector(dataset, tmp_path / "mine", backbone=f"onnx:{tiny_onnx}", note=notes.append)
    (note,) = notes
    assert note.startswith("warning: the thresholds of real and fake are the same, so no image will be called unsure")


def test_images_that_cannot_be_told_apart_are_all_unsure_and_noted(tmp_path: Path, tiny_onnx: Path) -> None:
    for number in range(24):
        path = tmp_path / "images" / ("real" if number % 2 else "fake") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        helpers.natural(400 + number // 2 + 200 * (number % 2 == 0), side=96).save(path)
    dataset, notes = import_dataset(read_folder(tmp_path / "images"), tmp_path / "dataset"), list[str]()
    settings = TrainingSettings(seed=1)
    detector = train_detector(
        dataset, tmp_path / "mine", backbone=f"onnx:{tiny_onnx}", settings=settings, note=notes.append
    )
    assert detector.trained.model.held_out[0].auroc[0] < 0.5
    (note,) = notes
    assert note.startswith("warning: no held-out image is called real or fake; train on more images")
    assert {detector.trained.choose_label(p) for p in detector.trained.predict_probabilities(np.eye(16))} == {"unsure"}


def test_training_is_reproducible_and_reuses_its_features(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = import_dataset(read_folder(folder), tmp_path / "dataset")
    for name in ("one", "two"):
        train_detector(
            dataset, tmp_path / name / "detector", backbone=f"onnx:{tiny_onnx}", settings=TrainingSettings(seed=1)
        )
    one, two = (tmp_path / name / "detector" for name in ("one", "two"))
    for file in ("model.json", "head.safetensors", "neighbours.safetensors", "README.md", HELD_OUT_FILE):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert list_extracted_backbones(dataset) == (f"onnx:{tiny_onnx}",)  # those of augmented images are not for studies


def test_train_and_test_images_share_no_source_cluster_or_generator() -> None:
    rows = make_rows()
    tested = np.zeros(len(rows.labels), int)
    for train, test in split_folds(rows, seed=0):
        assert not set(rows.sources[train]) & set(rows.sources[test])
        assert not set(rows.clusters[train]) & set(rows.clusters[test])
        assert not (set(rows.generators[train]) & set(rows.generators[test])) - {None}
        tested[test] += 1
    assert tested.tolist() == [1] * len(tested)


def test_with_few_sources_train_and_test_images_share_no_cluster() -> None:
    rows = make_rows()
    one_source = np.full(len(rows.labels), "s", object)
    folds = list(split_folds(ImageRows(rows.labels, rows.clusters, one_source, rows.generators), seed=0))
    assert len(folds) == FOLDS
    for train, test in folds:
        assert not set(rows.clusters[train]) & set(rows.clusters[test])


def test_weights_are_balanced_between_classes_and_between_their_sources() -> None:
    labels = np.array([0] * 100 + [0] * 4 + [1] * 10)
    sources = np.array(["large"] * 100 + ["small"] * 4 + ["fakes"] * 10, object)
    generators = np.array([None] * 104 + ["old"] * 5 + ["new"] * 5, object)
    rows = ImageRows(labels, np.arange(114), sources, generators)
    weights = compute_sample_weights(rows)
    assert weights.mean() == pytest.approx(1)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights[:100].sum() == pytest.approx(weights[100:104].sum())
    assert weights[104] == pytest.approx(weights[113])
    reweighted = compute_sample_weights(rows, {"old": 0.5})
    assert reweighted[104] == pytest.approx(reweighted[113] / 2)


def test_directions_that_differ_between_sources_have_lower_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first dimension separates real from fake. The second one does, too, but only by the real images' sources.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    sources = np.array([f"s{i % 8}" for i in range(400)] + ["f"] * 400, object)
    source_means = np.array([int(source[1]) / 2 - 2.5 if source != "f" else 2.0 for source in sources])
    features = np.stack([labels * 1.5 + rng.normal(size=800), source_means + rng.normal(size=800)], axis=1)
    rows = ImageRows(labels, np.arange(800), sources, np.full(800, None))
    x = (features / 1.4).astype(np.float32)
    weights = compute_sample_weights(rows)
    with_wccn, _ = fit_logistic_regression(x, x, rows, weights, 0.01)
    monkeypatch.setattr("changeling.detect.fitting.WCCN_STRENGTH", 0.0)
    without_wccn, _ = fit_logistic_regression(x, x, rows, weights, 0.01)
    assert 0 < with_wccn[1] / with_wccn[0] < 0.8 * without_wccn[1] / without_wccn[0]


def test_fakes_of_unknown_generators_do_not_exclude_each_other() -> None:
    rows = make_rows()
    unknown = np.array([name and "unknown" for name in rows.generators], object)
    folds = list(split_folds(ImageRows(rows.labels, rows.clusters, rows.sources, unknown), seed=0))
    assert sum(len(test) for _, test in folds) == len(rows.labels)


def test_the_card_names_clusters_if_sources_are_few(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = import_dataset(read_folder(folder), tmp_path / "dataset")  # one source
    train_detector(dataset, tmp_path / "mine", backbone=f"onnx:{tiny_onnx}")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "## Metrics on held-out clusters" in card
    assert "possibly on its source and its generator" in card
    assert "There are too few sources to say anything about new ones" in card
    assert "Held-out sources" not in card


def test_fakes_that_cannot_be_held_out_are_an_error(tmp_path: Path, tiny_onnx: Path) -> None:
    lines = ["file,role,generator,source"]
    for number in range(40):
        helpers.natural(number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'child' if number % 2 else 'parent'},{'g' if number % 2 else ''},s{number % 20}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    dataset = import_dataset(read_csv(tmp_path / "list.csv"), tmp_path / "dataset")
    with pytest.raises(DatasetError, match="no fake image can be held out"):
        train_detector(dataset, tmp_path / "mine", backbone=f"onnx:{tiny_onnx}")
    assert not (tmp_path / "mine").exists()


def test_random_scores_have_the_metrics_of_chance() -> None:
    rows = make_rows(2000)
    scores = np.random.default_rng(3).normal(size=2000)
    overall = measure_held_out(HeldOutImages(rows, HeldOutScores(scores, scores)), seed=0)[0]
    assert overall.auroc[1] <= 0.5 <= overall.auroc[2]
    assert overall.tpr_at_5[1] <= 0.05 <= overall.tpr_at_5[2]


def test_too_few_images_and_features_of_other_weights_are_errors(
    tiny_dataset: Dataset, tiny_onnx: Path, tmp_path: Path
) -> None:
    children = np.flatnonzero(tiny_dataset.labels == 1)
    with pytest.raises(DatasetError, match="needs at least 10 real and 10 fake images"):
        read_rows(tiny_dataset, children)
    other = helpers.tiny_onnx(tmp_path / "other.onnx", seed=9)
    train_detector(tiny_dataset, tmp_path / "model", backbone=f"onnx:{tiny_onnx}")
    tiny_onnx_bytes = tiny_onnx.read_bytes()
    try:
        tiny_onnx.write_bytes(other.read_bytes())
        with pytest.raises(FeatureError, match="was made with other weights"):
            train_detector(tiny_dataset, tmp_path / "again", backbone=f"onnx:{tiny_onnx}")
    finally:
        tiny_onnx.write_bytes(tiny_onnx_bytes)
