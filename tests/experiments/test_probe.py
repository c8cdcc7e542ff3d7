"""Table 2: the probe detects a planted style, matches scikit-learn, and does not depend on the test split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Split
from changeling.errors import DatasetError
from changeling.experiments import probe
from changeling.experiments.base import Context
from changeling.experiments.linear_probe import LinearProbe, ProbeSettings, fit_probe, select_training_rows
from changeling.features.store import load_features
from tests.experiments.conftest import Plant, keep_images, store


def test_accuracy_on_a_planted_style_is_close_to_the_optimum(plant: Plant) -> None:
    result = probe.run(Context(plant(style=1.5), ["planted"]), ProbeSettings())
    (table,) = result.tables
    (row,) = table.rows
    assert f"has an AUROC of {100 * row.cells['test_auroc'].value:.1f} % on 144 test images" in result.summary
    assert "the best on validation" not in result.summary  # there is no other
    assert not result.notes
    best = norm.cdf(1.5 / (1 + 0.3**2) ** 0.5)  # of two normals 3 apart, when meaning and noise are in the way
    assert row.cells["test_overall"].low <= best <= row.cells["test_overall"].high
    assert row.cells["test_auroc"].low <= norm.cdf(3 / (2 * (1 + 0.3**2)) ** 0.5) <= row.cells["test_auroc"].high
    assert row.cells["test_overall"].images == 36 * 4
    assert {c.key: c.chance for c in table.columns}["test_overall"] == pytest.approx(0.75)


def test_without_a_style_accuracies_are_at_chance(plant: Plant) -> None:
    (table,) = probe.run(Context(plant(style=0.0, clusters=600), ["planted"]), ProbeSettings()).tables
    for key in ("val_auroc", "test_auroc", "test_balanced"):
        cell = table.rows[0].cells[key]
        assert cell.low - 0.02 <= 0.5 <= cell.high + 0.02


def test_scores_match_scikit_learn(plant: Plant) -> None:
    dataset = plant(style=0.3)
    features = load_features(dataset, "planted")
    fitted = fit_probe(dataset, features, seed=5)
    rows = select_training_rows(dataset, features.valid, seed=5)
    scaler = StandardScaler().fit(features.values[rows])
    model = LogisticRegression(C=fitted.c, class_weight="balanced", max_iter=10_000)
    model.fit(scaler.transform(features.values[rows]), dataset.labels[rows])
    expected = model.decision_function(scaler.transform(features.values))
    assert fitted.predict_scores(features.values) == pytest.approx(expected, abs=2e-3)


def test_equal_features_have_equal_scores() -> None:
    rng = np.random.default_rng(0)
    features = np.tile(rng.normal(size=(203, 64)).astype(np.float32), (2, 1))
    fitted = LinearProbe(np.zeros(64), np.ones(64), rng.normal(size=64), 0.1, 1.0, training_images=1, is_converged=True)
    first, second = np.split(fitted.predict_scores(features), 2)
    assert (first == second).all()


def test_training_uses_the_parents_and_one_child_per_cluster(plant: Plant) -> None:
    dataset = plant(style=0.3)
    features = load_features(dataset, "planted")
    rows = select_training_rows(dataset, features.valid)
    assert set(dataset.column("split")[rows]) == {"train"}
    assert np.bincount(dataset.clusters[rows]).tolist() == [2] * 60
    assert dataset.labels[rows].mean() == 0.5
    assert rows.tolist() != select_training_rows(dataset, features.valid, seed=1).tolist()


def test_the_probe_does_not_depend_on_the_test_split(plant: Plant) -> None:
    dataset = plant(style=0.3)
    features = load_features(dataset, "planted")
    before = fit_probe(dataset, features)
    test = dataset.column("split") == "test"
    features.values[test] = -features.values[test]
    after = fit_probe(dataset, features)
    assert before.c == after.c
    assert before.weight.tolist() == after.weight.tolist()


def test_c_is_chosen_without_children_of_other_generators(plant: Plant) -> None:
    dataset = plant(style=0.3, generators=2)
    features = load_features(dataset, "planted")
    settings = ProbeSettings(train_on="g0")
    before = fit_probe(dataset, features, settings)
    other = (dataset.column("split") == "val") & (dataset.column("generator") == "g1")
    features.values[other] = -20 * features.values[other]  # any C but the smallest is then costly
    after = fit_probe(dataset, features, settings)
    assert before.c == after.c
    assert fit_probe(dataset, features, ProbeSettings()).c != before.c


def test_a_generator_without_validation_children_has_no_probe_of_its_own(plant: Plant) -> None:
    dataset = plant(style=1.5, generators=3)
    is_left_out = (dataset.column("split") == "val") & (dataset.column("generator") == "g2")
    fewer = keep_images(dataset, ~is_left_out)
    _, crossed = probe.run(Context(fewer, ["planted"]), ProbeSettings()).tables
    assert {row.labels["Trained on"] for row in crossed.rows} == {"all", "g0", "g1"}
    with pytest.raises(DatasetError, match="the val split needs real images and children by 'g2' to train a probe"):
        probe.run(Context(fewer, ["planted"]), ProbeSettings(train_on="g2"))


def test_with_c_given_no_validation_split_is_needed(plant: Plant) -> None:
    dataset = plant(style=1.5)
    without = keep_images(dataset, dataset.column("split") != "val")
    with pytest.raises(DatasetError, match=r"the val split needs real and fake images .*; without them, give C"):
        probe.run(Context(without, ["planted"]), ProbeSettings())
    expected = probe.run(Context(dataset, ["planted"]), ProbeSettings(C=0.1)).tables[0].rows[0].cells["test_auroc"]
    (row,) = probe.run(Context(without, ["planted"]), ProbeSettings(C=0.1)).tables[0].rows
    assert row.cells["test_auroc"] == expected
    assert "val_auroc" not in row.cells


def test_a_validation_split_without_fakes_is_an_error_unless_c_is_given(plant: Plant) -> None:
    dataset = plant(style=1.5)
    without = keep_images(dataset, (dataset.column("split") != "val") | (dataset.labels == 0))
    with pytest.raises(DatasetError, match="the val split needs real and fake images"):
        probe.run(Context(without, ["planted"]), ProbeSettings())
    (row,) = probe.run(Context(without, ["planted"]), ProbeSettings(C=0.1)).tables[0].rows
    assert set(row.cells) == {"test_overall", "test_full", "test_balanced", "test_auroc"}


def test_always_fake_scores_differently_for_each_generator(plant: Plant) -> None:
    dataset = plant(style=1.5, children=5, generators=2)
    table, crossed = probe.run(Context(dataset, ["planted"]), ProbeSettings(C=0.1)).tables
    chances = {row.labels["Generator"]: row.cells["test_overall"].chance for row in table.rows}
    assert chances == {"all": pytest.approx(5 / 6), "g0": pytest.approx(2 / 3), "g1": pytest.approx(3 / 4)}
    shared = {column.key: column.chance for column in table.columns}
    assert (shared["test_overall"], shared["test_full"], shared["test_auroc"]) == (None, None, 0.5)
    assert [row.cells["test_overall"].chance for row in crossed.rows] == [
        pytest.approx(2 / 3),
        pytest.approx(3 / 4),
    ] * 3


def test_several_seeds_give_the_mean_and_wider_intervals(plant: Plant) -> None:
    context = Context(plant(style=0.2, generators=2), ["planted"])
    settings = ProbeSettings(C=1.0)
    singles = [probe.run(replace(context, seed=seed), settings) for seed in (0, 1, 2)]
    result = probe.run(replace(context, seeds=3), settings)
    for table, row in ((0, 0), (0, 1), (1, 3)):
        for column in ("test_overall", "test_full", "test_balanced", "test_auroc"):
            cells = [one.tables[table].rows[row].cells[column] for one in singles]
            combined = result.tables[table].rows[row].cells[column]
            assert combined.value == pytest.approx(np.mean([cell.value for cell in cells]))
            assert combined.clusters == cells[0].clusters
    auroc = result.tables[0].rows[0].cells["test_auroc"]
    narrowest = min(cell.high - cell.low for cell in (one.tables[0].rows[0].cells["test_auroc"] for one in singles))
    assert auroc.high - auroc.low > narrowest
    assert result.settings["seed"] == "0, 1, 2"
    everything = ProbeSettings(C=1.0, children="all")  # no child is drawn, so seeds make no difference
    assert (
        probe.run(replace(context, seeds=2), everything).tables[0].rows[0].cells["test_full"]
        == probe.run(context, everything).tables[0].rows[0].cells["test_full"]
    )


def test_images_that_are_also_in_the_train_split_are_noted(plant: Plant) -> None:
    dataset = plant(style=1.5)
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    training = [row for row in rows if row.split == "train"]
    copies = {row.image_id: original.sha256 for row, original in zip(rows[-3:], training, strict=False)}
    leaking = write_dataset(
        dataset.path / "leaking", [replace(row, sha256=copies.get(row.image_id, row.sha256)) for row in rows]
    )
    store(leaking, "planted", load_features(dataset, "planted").values)
    notes = probe.run(Context(leaking, ["planted"]), ProbeSettings(C=0.1)).notes
    assert notes[0].startswith("Train/test leakage: 3 images of the test split are also in the train split")
    assert not probe.run(Context(dataset, ["planted"]), ProbeSettings(C=0.1)).notes


def test_each_generator_has_a_row(plant: Plant) -> None:
    table, crossed = probe.run(Context(plant(style=1.5, generators=3), ["planted"]), ProbeSettings()).tables
    assert [row.labels["Generator"] for row in table.rows] == ["all", "g0", "g1", "g2"]
    assert table.rows[1].cells["test_overall"].images == 36 * 2  # a parent and its one child by that generator
    pairs = [(row.labels["Trained on"], row.labels["Generator"]) for row in crossed.rows]
    assert pairs == [(a, b) for a in ("all", "g0", "g1", "g2") for b in ("g0", "g1", "g2")]


def test_a_probe_transfers_between_generators_with_the_same_style(plant: Plant) -> None:
    dataset = plant(style=0.0, generators=3, clusters=300)
    values = load_features(dataset, "planted").values.copy()
    names = dataset.column("generator")
    for name, axis in {"g0": 0, "g1": 0, "g2": 1}.items():  # g0 and g1 leave one trace, g2 another
        values[names == name, axis] += 4
    store(dataset, "planted", values)
    settings = ProbeSettings(train_on="g0", children="all")
    table, crossed = probe.run(Context(dataset, ["planted"]), settings).tables
    auroc = {(row.labels["Trained on"], row.labels["Generator"]): row.cells["test_auroc"].value for row in crossed.rows}
    assert auroc["g0", "g1"] > 0.95 > 0.6 > auroc["g0", "g2"]
    assert auroc["g2", "g2"] > 0.95 > 0.6 > auroc["g2", "g1"]
    assert auroc["all", "g2"] > 0.9
    by_generator = {row.labels["Generator"]: row.cells["test_auroc"].value for row in table.rows}
    assert by_generator["g1"] == auroc["g0", "g1"]


def test_an_unreadable_image_is_excluded(plant: Plant) -> None:
    dataset = plant(style=1.5)
    values = load_features(dataset, "planted").values.copy()
    lost = int(np.flatnonzero(dataset.column("split") == "test")[0])
    values[lost] = np.nan
    store(dataset, "planted", values)
    (table,) = probe.run(Context(dataset, ["planted"]), ProbeSettings()).tables
    assert table.rows[0].cells["test_overall"].images == 36 * 4 - 1


def test_chance_is_the_share_of_fakes_among_the_readable_images(plant: Plant) -> None:
    dataset = plant(style=1.5)
    values = load_features(dataset, "planted").values.copy()
    test = dataset.column("split") == "test"
    values[np.flatnonzero(test & (dataset.labels == 1))[::2]] = np.nan
    store(dataset, "planted", values)
    (table,) = probe.run(Context(dataset, ["planted"]), ProbeSettings()).tables
    chances = {column.key: column.chance for column in table.columns}
    assert chances["test_overall"] == pytest.approx(54 / (54 + 36))  # of 108 children half are left
    assert chances["val_overall"] == pytest.approx(0.75)


def test_a_split_with_one_class_is_an_error(tmp_path: Path) -> None:
    rows = [ImageRow(f"{i}", f"c{i}", "parent", f"{i}.jpg", "train", sha256="0") for i in range(4)]
    dataset: Dataset = write_dataset(tmp_path / "d", rows)
    store(dataset, "planted", np.ones((4, 3), np.float32))
    with pytest.raises(DatasetError, match="the train split needs real and fake images"):
        probe.run(Context(dataset, ["planted"]), ProbeSettings())


def test_single_images_are_clusters_of_their_own(tmp_path: Path) -> None:
    # as from a folder of real/ and fake/: each image a cluster of its own, one generator for all fakes
    rng = np.random.default_rng(0)
    splits: list[Split] = ["train", "val", "test"] * 60
    rows = [
        ImageRow(f"{i}", f"c{i}", "child" if i % 2 else "parent", f"{i}", split, generator="g" if i % 2 else None)
        for i, split in enumerate(splits)
    ]
    dataset = write_dataset(tmp_path / "d", rows)
    store(dataset, "planted", (rng.normal(size=(180, 5)) + 2 * dataset.labels[:, None]).astype(np.float32))
    result = probe.run(Context(dataset, ["planted"]), ProbeSettings())
    (row,) = result.tables[0].rows
    assert result.notes[0].startswith("Of the 60 clusters of the validation split, 0 have a parent and a child.")
    assert row.labels["Generator"] == "g"
    assert row.cells["test_overall"].images == 60
    assert row.cells["test_overall"].value > 0.95


def test_the_probes_of_two_backbones_are_compared_on_the_same_images(plant: Plant) -> None:
    dataset = plant(style=1.5)
    values = load_features(dataset, "planted").values
    noise = np.random.default_rng(0).normal(size=values.shape)
    store(dataset, "noisy", (values + 3 * noise).astype(np.float32))
    table, differences = probe.run(Context(dataset, ["planted", "noisy"]), ProbeSettings()).tables
    (row,) = differences.rows
    assert row.labels["Difference"] == "planted minus noisy"
    planted, noisy = table.rows
    for key in ("auroc", "balanced"):
        cell = row.cells[f"difference_{key}"]
        assert cell.value == pytest.approx(planted.cells[f"test_{key}"].value - noisy.cells[f"test_{key}"].value)
        assert 0 < cell.low < cell.value < cell.high
        assert cell.images == 144
    assert "one difference" in differences.note


def test_backbones_are_compared_on_images_with_features_of_both(plant: Plant) -> None:
    dataset = plant(style=1.5)
    values = load_features(dataset, "planted").values.copy()
    values[np.flatnonzero(dataset.column("split") == "test")[0]] = np.nan
    store(dataset, "other", values)
    differences = probe.run(Context(dataset, ["planted", "other"], seeds=2), ProbeSettings()).tables[-1]
    assert differences.key == "probe-differences"
    cell = differences.rows[0].cells["difference_auroc"]
    assert cell.images == 143
    assert cell.low <= 0 <= cell.high
