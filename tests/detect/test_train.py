"""Training: it finds what was planted, judges on what was left out, and its detector works."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.folder import from_csv, from_folder, import_dataset
from changeling.detect.detector import Detector
from changeling.detect.held_out import FOLDS, Rows, judge, splits
from changeling.detect.model import load_model
from changeling.detect.train import balance, fit, train
from changeling.errors import DatasetError, FeatureError
from changeling.features.store import available
from tests import helpers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty natural pictures and thirty with a green cast, which survives any view, as a folder."""
    for number in range(30):
        for name in ("real", f"fake/g{number % 3}"):
            picture = helpers.natural(number + 100 * len(name), side=96)
            if name != "real":
                picture = Image.blend(picture, Image.new("RGB", picture.size, (0, 255, 0)), 0.6)
            path = tmp_path / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return tmp_path / "pictures"


def rows(count: int = 400, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    sources = rng.choice([f"s{i}" for i in range(24)], count).astype(object)
    made = [f"g{source[1:]}" if label else None for label, source in zip(labels, sources, strict=True)]
    generators = np.array(made, object)
    return Rows(labels, np.arange(count) // 2, sources, generators)


def test_a_detector_is_trained_judged_saved_and_loaded(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = import_dataset(from_folder(folder), tmp_path / "dataset")
    trained = train(dataset, f"onnx:{tiny_onnx}", tmp_path / "mine", seed=1)
    everything, resaved = trained.model.held_out[:2]
    assert (everything.generator, everything.images, resaved.generator) == ("all", 30, "all, re-saved")
    assert everything.auroc[0] > 0.8
    assert everything.auroc[1] <= everything.auroc[0] <= everything.auroc[2]
    assert (trained.model.name, trained.model.trained_on["real images"]) == ("mine", 30)
    assert trained.model.real_below <= trained.model.fake_above
    loaded = load_model(tmp_path / "mine")
    assert loaded.model == trained.model
    features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    assert loaded.probabilities(features) == pytest.approx(trained.probabilities(features), abs=1e-5)
    detector = Detector.load(tmp_path / "mine")
    fakes = list(detector.detect(sorted((folder / "fake").rglob("*.png"))))
    reals = list(detector.detect(sorted((folder / "real").rglob("*.png"))))
    means = [np.mean([verdict.probability or 0.0 for verdict in some]) for some in (reals, fakes)]
    assert means[1] > means[0] + 0.3
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"| all | 30 | {everything.auroc[0]:.3f}" in card


def test_training_repeats_bit_for_bit_and_goes_on_where_it_stopped(
    folder: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    dataset = import_dataset(from_folder(folder), tmp_path / "dataset")
    for name in ("one", "two"):
        train(dataset, f"onnx:{tiny_onnx}", tmp_path / name / "same", seed=1)
    one, two = (tmp_path / name / "same" for name in ("one", "two"))
    for file in ("model.json", "head.safetensors", "README.md"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert available(dataset) == (f"onnx:{tiny_onnx}",)  # drawn views are no features to study


def test_folds_part_no_source_no_cluster_and_no_generator() -> None:
    some = rows()
    tested = np.zeros(len(some.labels), int)
    for inside, outside in splits(some, seed=0):
        assert not set(some.sources[inside]) & set(some.sources[outside])
        assert not set(some.clusters[inside]) & set(some.clusters[outside])
        assert not (set(some.generators[inside]) & set(some.generators[outside])) - {None}
        tested[outside] += 1
    assert tested.tolist() == [1] * len(tested)


def test_with_few_sources_clusters_stay_whole_instead() -> None:
    some = rows()
    one = Rows(some.labels, some.clusters, np.full(len(some.labels), "s", object), some.generators)
    folds = list(splits(one, seed=0))
    assert len(folds) == FOLDS
    for inside, outside in folds:
        assert not set(one.clusters[inside]) & set(one.clusters[outside])


def test_weights_are_even_between_classes_and_between_their_sources() -> None:
    labels = np.array([0] * 100 + [0] * 4 + [1] * 10)
    sources = np.array(["large"] * 100 + ["small"] * 4 + ["fakes"] * 10, object)
    generators = np.array([None] * 104 + ["old"] * 5 + ["new"] * 5, object)
    some = Rows(labels, np.arange(114), sources, generators)
    weights = balance(some)
    assert weights.mean() == pytest.approx(1)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights[:100].sum() == pytest.approx(weights[100:104].sum())
    assert weights[104] == pytest.approx(weights[113])
    assert balance(some, {"old": 0.5})[104] == pytest.approx(balance(some, {"old": 0.5})[113] / 2)


def test_what_differs_from_source_to_source_is_used_less(monkeypatch: pytest.MonkeyPatch) -> None:
    # the first number tells real from fake; the second also does in training, but only because of where the real
    # images are from, as it differs from source to source
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    sources = np.array([f"s{i % 8}" for i in range(400)] + ["f"] * 400, object)
    places = np.array([int(source[1]) / 2 - 2.5 if source != "f" else 2.0 for source in sources])
    features = np.stack([labels * 1.5 + rng.normal(size=800), places + rng.normal(size=800)], axis=1)
    some = Rows(labels, np.arange(800), sources, np.full(800, None))
    x = (features / 1.4).astype(np.float32)
    calm, _ = fit(x, x, some, balance(some), 0.01)
    monkeypatch.setattr("changeling.detect.train.NUISANCE", 0.0)
    plain, _ = fit(x, x, some, balance(some), 0.01)
    assert 0 < calm[1] / calm[0] < 0.8 * plain[1] / plain[0]


def test_unknown_is_no_generator_and_few_sources_are_said(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    some = rows()
    nameless = np.array([name and "unknown" for name in some.generators], object)
    folds = list(splits(Rows(some.labels, some.clusters, some.sources, nameless), seed=0))
    assert sum(len(outside) for _, outside in folds) == len(some.labels)
    dataset = import_dataset(from_folder(folder), tmp_path / "dataset")  # one source
    train(dataset, f"onnx:{tiny_onnx}", tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "## On clusters left out of training" in card
    assert "may have seen its source and its generator" in card


def test_what_cannot_be_left_out_cannot_be_judged(tmp_path: Path, tiny_onnx: Path) -> None:
    lines = ["file,role,generator,source"]
    for number in range(40):
        helpers.natural(number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'child' if number % 2 else 'parent'},{'g' if number % 2 else ''},s{number % 20}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    dataset = import_dataset(from_csv(tmp_path / "list.csv"), tmp_path / "dataset")
    with pytest.raises(DatasetError, match="no fake image can be left out and judged"):
        train(dataset, f"onnx:{tiny_onnx}", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_scores_that_know_nothing_are_judged_so() -> None:
    some = rows(2000)
    scores = np.random.default_rng(3).normal(size=2000)
    everything = judge(some, scores, scores, seed=0)[0]
    assert everything.auroc[1] <= 0.5 <= everything.auroc[2]
    assert everything.found_at_5[1] <= 0.05 <= everything.found_at_5[2]


def test_too_little_to_train_on_says_so(tiny_dataset: Dataset, tiny_onnx: Path, tmp_path: Path) -> None:
    children = np.flatnonzero(tiny_dataset.labels == 1)
    with pytest.raises(DatasetError, match="needs 10 real and 10 fake images"):
        Rows.of(tiny_dataset, children)
    other = helpers.tiny_onnx(tmp_path / "other.onnx", seed=9)
    train(tiny_dataset, f"onnx:{tiny_onnx}", tmp_path / "model")
    tiny_onnx_bytes = tiny_onnx.read_bytes()
    try:
        tiny_onnx.write_bytes(other.read_bytes())
        with pytest.raises(FeatureError, match="was made with other weights"):
            train(tiny_dataset, f"onnx:{tiny_onnx}", tmp_path / "again")
    finally:
        tiny_onnx.write_bytes(tiny_onnx_bytes)
