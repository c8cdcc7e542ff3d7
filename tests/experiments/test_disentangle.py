"""Table 4: T separates a planted style and S removes it; training resumes to the same bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import DatasetError, StudyError
from changeling.experiments import disentangle, probe, projections
from changeling.experiments.base import Context
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.projections import Projection, select_training_clusters, train_projection
from changeling.features.store import load_features
from changeling.progress import Progress
from tests.experiments.conftest import Plant, keep_images, store

FAST = DisentangleSettings(epochs=40, min_steps=1, batch=128, lr=5e-3)


def test_t_amplifies_and_s_removes_a_planted_style(plant: Plant) -> None:
    result = disentangle.run(Context(plant(style=0.7, clusters=400, apart=True), ["planted"]), FAST)
    table, curve_table = result.tables
    on_raw, on_s, in_t = (row.cells for row in table.rows)
    assert [row.labels["Features"][0] for row in table.rows] == ["r", "S", "T"]
    assert on_raw["test_max"].value < 0.9
    assert in_t["test_max"].value > 0.95
    assert in_t["test_min"].value < 0.02
    probes = curve_table.rows[0].cells
    assert probes["raw features/C = 1"].value > 0.8
    assert probes["S/C = 0.01"].value < 0.6
    assert on_s["test_overall"].value < 0.8 < on_raw["test_overall"].value


def test_no_validation_split_is_needed(plant: Plant) -> None:
    dataset = plant(style=1.0)
    without = keep_images(dataset, dataset.column("split") != "val")
    settings = FAST.model_copy(update={"epochs": 2, "curve": False})
    for row in disentangle.run(Context(without, ["planted"]), settings).tables[0].rows:
        assert set(row.cells) == {"test_overall", "test_full", "test_min", "test_max"}
    with pytest.raises(DatasetError, match="the val split needs real images and children by 'g0' to train a probe"):
        disentangle.check(Context(without, ["planted"]), DisentangleSettings(C="tuned"))


def test_without_a_style_all_accuracies_are_at_chance(plant: Plant) -> None:
    result = disentangle.run(Context(plant(style=0.0, clusters=600), ["planted"]), FAST)
    table, curve_table = result.tables
    chances = {column.key: column.chance for column in table.columns}
    for row in table.rows:
        cell = row.cells["test_max"]
        assert cell.low - 0.03 <= (chances["test_max"] or 0) <= cell.high + 0.03
    for key, cell in curve_table.rows[0].cells.items():
        assert cell.low - 0.02 <= 0.5 <= cell.high + 0.02, key


def test_accuracy_on_s_rises_with_c_if_s_only_rescales(plant: Plant) -> None:
    result = disentangle.run(Context(plant(style=0.7, clusters=400, apart=True), ["planted"]), FAST)
    curve = next(plot for plot in result.plots if plot.title == "Balanced accuracy over C")
    raw, s = (next(line for line in curve.curves if line.name == name) for name in ("raw features", "S"))
    assert s.y[0] < raw.y[0] - 0.1
    assert s.y[-1] > s.y[0] + 0.1
    singular = next(plot for plot in result.plots if plot.title == "Singular values")
    assert all(line.y[0] == 1 and list(line.y) == sorted(line.y, reverse=True) for line in singular.curves)


def test_interrupted_training_resumes_to_the_same_bytes(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "_CHECKPOINT_STEPS", 10)  # five epochs
    dataset = plant(style=1.0)
    features = load_features(dataset, "planted")
    uninterrupted = train_projection(Context(dataset, ["planted"]), features, "g0", "S", FAST)

    class StopError(Exception):
        pass

    def stop_after(epochs: int) -> Progress:
        def progress(what: str, done: int, _: int) -> None:
            assert "loss" in what
            if done == epochs:
                raise StopError

        return progress

    context = Context(dataset, ["planted"], projections=tmp_path)
    for epochs in (5, 10, 25):
        with pytest.raises(StopError):
            train_projection(replace(context, progress=stop_after(epochs)), features, "g0", "S", FAST)
    resumed = train_projection(context, features, "g0", "S", FAST)
    assert resumed.losses == uninterrupted.losses
    assert resumed.weight.tobytes() == uninterrupted.weight.tobytes()
    (file,) = tmp_path.glob("*.safetensors")
    before = file.stat().st_mtime_ns
    assert train_projection(context, features, "g0", "S", FAST).weight.tobytes() == uninterrupted.weight.tobytes()
    assert file.stat().st_mtime_ns == before  # a finished projection is not trained again


def test_other_settings_have_other_checkpoints(plant: Plant, tmp_path: Path) -> None:
    dataset = plant(style=1.0)
    features = load_features(dataset, "planted")
    short = FAST.model_copy(update={"epochs": 1})
    for context in (Context(dataset, [], projections=tmp_path), Context(dataset, [], seed=1, projections=tmp_path)):
        for kind in ("S", "T"):
            train_projection(context, features, "g0", kind, short)
    train_projection(context, features, "g0", "S", short.model_copy(update={"weight_decay": 0.5}))
    assert len(list(tmp_path.glob("S*"))) + len(list(tmp_path.glob("T*"))) == 5


@pytest.mark.filterwarnings("error")
def test_divergence_is_an_error_and_its_checkpoint_is_not_saved(plant: Plant, tmp_path: Path) -> None:
    dataset = plant(style=1.0)
    features = load_features(dataset, "planted")
    context = Context(dataset, ["planted"], projections=tmp_path / "heads")
    wild = FAST.model_copy(update={"lr": 1e9})
    with pytest.raises(StudyError, match=r"^S of planted: training diverges with disentangle.lr = 1e\+09,"):
        train_projection(context, features, "g0", "S", wild)
    assert not (tmp_path / "heads").exists()
    train_projection(context, features, "g0", "S", FAST)
    (file,) = (tmp_path / "heads").iterdir()
    tensors = load_file(file)
    save_file(tensors | {"weight": np.full_like(tensors["weight"], np.nan)}, file)  # as an earlier version left it
    assert np.isfinite(train_projection(context, features, "g0", "S", FAST).weight).all()


def test_temperature_only_scales_the_loss(plant: Plant) -> None:
    dataset = plant(style=1.0)
    features = load_features(dataset, "planted")
    cold, warm = (
        train_projection(Context(dataset, []), features, "g0", "T", FAST.model_copy(update={"temperature": t}))
        for t in (0.07, 0.5)
    )
    assert cold.losses[0] * 0.07 == pytest.approx(warm.losses[0] * 0.5, rel=1e-3)
    a, b = cold.project(features.values), warm.project(features.values)
    assert (a * b).sum(axis=1).min() > 0.99


def test_equal_features_have_equal_projections() -> None:
    rng = np.random.default_rng(0)
    features = np.tile(rng.normal(size=(203, 64)).astype(np.float32), (2, 1))
    projection = Projection(rng.normal(size=(64, 64)).astype(np.float32), losses=(0.0,), bound=0.0, clusters=1)
    first, second = np.split(projection.project(features), 2)
    assert (first == second).all()


def test_training_uses_whole_clusters_of_the_train_split_only(plant: Plant) -> None:
    dataset = plant(style=1.0)
    features = load_features(dataset, "planted")
    rows, starts = select_training_clusters(dataset, features.valid, "g0")
    assert set(dataset.column("split")[rows]) == {"train"}
    assert np.diff(starts).tolist() == [4] * 60
    assert len(set(dataset.clusters[rows])) == 60


def test_a_dataset_without_enough_clusters_is_an_error(plant: Plant) -> None:
    dataset = plant(style=1.0, clusters=2)
    with pytest.raises(DatasetError, match="the train split needs two clusters"):
        disentangle.run(Context(dataset, ["planted"]), FAST)


def test_a_small_dataset_is_trained_until_it_converges(plant: Plant) -> None:
    dataset = plant(style=0.7, clusters=40, apart=True)
    features = load_features(dataset, "planted")
    settings = DisentangleSettings()
    for kind in ("S", "T"):
        projection = train_projection(Context(dataset, []), features, "g0", kind, settings)
        assert len(projection.losses) == settings.min_steps  # one batch an epoch: 25 epochs are 25 steps
        assert projection.is_converged
        assert projection.bound <= projection.loss < 0.8 * projection.bound


def test_what_has_not_converged_is_not_interpreted(plant: Plant) -> None:
    dataset = plant(style=0.7, clusters=40, apart=True)
    settings = DisentangleSettings(min_steps=1, curve=False)
    result = disentangle.run(Context(dataset, ["planted"]), settings)
    assert result.summary.startswith("S of g0, planted had not converged after 25 steps (loss ")
    assert result.summary.endswith("and its numbers are not to be interpreted; raise disentangle.min_steps.")
    assert "%" not in result.summary
    notes = [note for note in result.notes if "raise disentangle.min_steps" in note]
    assert [note[0] for note in notes] == ["S", "T"]
    assert result.settings["steps of the training of S and T of g0, planted"] == 25
    marked = [row.labels["Features"] for row in result.tables[0].rows]
    assert marked == ["raw", "S (not converged)", "T (not converged)"]


@pytest.mark.parametrize(
    ("losses", "is_converged"),
    [
        (np.linspace(0, -1, 1000), False),  # falls steadily
        (-1 + np.exp(-np.arange(1000) / 100), True),  # has fallen
        (-1 + np.exp(-np.arange(1000) / 300), False),  # the last tenth improves by 2 %
        (-1 + np.exp(-np.arange(100) / 5), False),  # too few steps
    ],
)
def test_convergence_is_an_improvement_below_one_per_cent(losses: np.ndarray, is_converged: bool) -> None:
    projection = Projection(np.eye(2, dtype=np.float32), tuple(losses.tolist()), -1.0, 2)
    assert projection.is_converged == is_converged


def test_probes_are_those_of_table_2_with_its_settings(plant: Plant) -> None:
    context = Context(plant(style=0.7), ["planted"])
    settings = FAST.model_copy(update={"curve": False, "C": "tuned", "standardise": True, "epochs": 2})
    result = disentangle.run(context, settings)
    table_2 = probe.run(context, ProbeSettings(train_on="g0"))
    raw, expected = result.tables[0].rows[0].cells, table_2.tables[0].rows[0].cells
    assert {key: raw[key] for key in ("val_overall", "test_full")} == {
        key: expected[key] for key in ("val_overall", "test_full")
    }
    assert result.settings["C of the probe on raw of g0, planted"] == table_2.settings["C of planted"]
    plain = ProbeSettings(C=1.0, standardise=False)
    raw = disentangle.run(context, settings.model_copy(update={"C": 1.0, "standardise": False})).tables[0].rows[0].cells
    assert raw["test_overall"] == probe.run(context, plain).tables[0].rows[0].cells["test_overall"]


def test_s_and_t_of_one_generator_are_evaluated_on_all(plant: Plant, tmp_path: Path) -> None:
    dataset = plant(style=0.7, generators=2)
    context = Context(dataset, ["planted"], projections=tmp_path)
    settings = FAST.model_copy(update={"curve": False, "epochs": 2})
    each = disentangle.run(context, settings).tables[0].rows
    trained = sorted(path.name for path in tmp_path.iterdir())
    result = disentangle.run(context, settings.model_copy(update={"train_on": "g0"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == trained  # S and T of g0 exist already
    (table,) = result.tables
    assert "trained on the children of g0, in every row" in table.note
    assert [row.labels["Generator"] for row in table.rows[::3]] == ["all", "g0", "g1"]
    assert [row.cells for row in table.rows[3:6]] == [row.cells for row in each[3:6]]
    assert table.rows[7].cells != each[7].cells  # S of g0, not of g1, on g1
    assert len([plot for plot in result.plots if plot.title == "Training loss"]) == 1
    with pytest.raises(StudyError, match=r"disentangle.train_on = 'g3': .*; choose one of each, all, g0, g1"):
        disentangle.check(context, settings.model_copy(update={"train_on": "g3"}))


def test_the_summary_says_what_changes_or_that_the_data_cannot_tell(plant: Plant) -> None:
    settings = FAST.model_copy(update={"curve": False, "epochs": 1, "min_steps": 1000})
    summary = disentangle.run(Context(plant(style=0.7, clusters=100, apart=True), ["planted"]), settings).summary
    first, second = summary.split(" points). ")
    assert first.startswith("On planted features (g0), S lowers the accuracy of a linear probe on 120 test images: ")
    assert second.startswith("T raises the share of 30 test clusters in which the parent is the farthest ")
    few = disentangle.run(Context(plant(style=0.0, clusters=40), ["planted"]), settings).summary
    assert "(g0), the data cannot tell whether S changes the accuracy" in few
    assert few.count("cannot tell") == 2


def test_with_one_child_a_cluster_the_summary_is_about_the_probe(plant: Plant) -> None:
    settings = FAST.model_copy(update={"curve": False, "min_steps": 300, "epochs": 1})
    result = disentangle.run(Context(plant(style=0.7, clusters=100, children=1), ["planted"]), settings)
    assert "accuracy of a linear probe on 60 test images" in result.summary
    assert result.summary.endswith(
        "Distances cannot be compared, because no test cluster has a parent and two children."
    )


def test_several_seeds_widen_the_intervals(plant: Plant, tmp_path: Path) -> None:
    settings = FAST.model_copy(update={"curve": False, "epochs": 3})
    one = Context(plant(style=0.7, clusters=60), ["planted"], projections=tmp_path / "heads")
    singles = [disentangle.run(replace(one, seed=seed), settings).tables[0].rows for seed in (0, 1)]
    files = {path.name: path.read_bytes() for path in (tmp_path / "heads").iterdir()}
    result = disentangle.run(replace(one, seeds=2), settings)
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "heads").iterdir()
    } == files  # S and T of both seeds exist
    raw, on_s, in_t = result.tables[0].rows
    for column in ("test_overall", "val_full", "test_max"):
        values = [rows[1].cells[column].value for rows in singles]
        assert on_s.cells[column].value == pytest.approx(np.mean(values))
    widths = [[rows[1].cells["test_overall"].high - rows[1].cells["test_overall"].low] for rows in singles]
    assert on_s.cells["test_overall"].high - on_s.cells["test_overall"].low > np.mean(widths)
    assert raw.cells["test_max"] == singles[0][0].cells["test_max"]  # distances of raw features know no seed
    assert in_t.labels["Features"][0] == "T"
    assert result.settings["seed"] == "0, 1"


def test_leakage_is_noted(plant: Plant) -> None:
    dataset = plant(style=0.7, clusters=20)
    rows = [replace(ImageRow(**row), sha256="same") for row in dataset.images.to_pylist()]
    leaking = write_dataset(dataset.path / "leaking", rows)
    store(leaking, "planted", load_features(dataset, "planted").values)
    settings = FAST.model_copy(update={"curve": False, "epochs": 1})
    notes = disentangle.run(Context(leaking, ["planted"]), settings).notes
    assert notes[0].startswith("Train/test leakage: 16 images of the validation split are also in the train split")


def test_the_plot_of_losses_shows_the_bounds(plant: Plant) -> None:
    settings = FAST.model_copy(update={"curve": False, "min_steps": 500})
    result = disentangle.run(Context(plant(style=0.7, clusters=40), ["planted"]), settings)
    (plot,) = (plot for plot in result.plots if plot.title == "Training loss")
    assert [curve.name for curve in plot.curves] == ["S", "bound of S", "T", "bound of T"]
    for curve, bound in (plot.curves[:2], plot.curves[2:]):
        assert curve.x[-1] == bound.x[-1] == 500
        assert bound.y[0] == bound.y[1] < min(curve.y)
