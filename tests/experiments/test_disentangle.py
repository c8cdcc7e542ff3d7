"""Table 4: T separates a planted style and S removes it; training resumes to the same bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from changeling.errors import DatasetError, StudyError
from changeling.experiments import disentangle, projections
from changeling.experiments.base import Context
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.projections import Projection, select_training_clusters, train_projection
from changeling.features.store import load_features
from changeling.progress import Progress
from tests.experiments.conftest import Plant, keep_images

FAST = DisentangleSettings(epochs=40, min_steps=1, batch=128, lr=5e-3)


def test_t_amplifies_and_s_removes_a_planted_style(plant: Plant) -> None:
    result = disentangle.run(Context(plant(style=0.7, clusters=400, apart=True), ["planted"]), FAST)
    table, curve_table = result.tables
    cells = table.rows[0].cells
    assert cells["test_t_max"].value > 0.95  # raw: far from it, see the last lines
    assert cells["test_t_min"].value < 0.02
    probes = curve_table.rows[0].cells
    assert probes["raw features/C = 1"].value > 0.8
    assert probes["S/C = 0.01"].value < 0.6
    assert cells["test_s_overall"].value < 0.8


def test_no_validation_split_is_needed(plant: Plant) -> None:
    dataset = plant(style=1.0)
    without = keep_images(dataset, dataset.column("split") != "val")
    (row,) = disentangle.run(Context(without, ["planted"]), DisentangleSettings(epochs=2, curve=False)).tables[0].rows
    assert set(row.cells) == {"test_s_overall", "test_s_full", "test_t_min", "test_t_max"}


def test_without_a_style_all_accuracies_are_at_chance(plant: Plant) -> None:
    result = disentangle.run(Context(plant(style=0.0, clusters=600), ["planted"]), FAST)
    table, curve_table = result.tables
    chances = {column.key: column.chance for column in table.columns}
    cell = table.rows[0].cells["test_t_max"]
    assert cell.low - 0.03 <= (chances["test_t_max"] or 0) <= cell.high + 0.03
    for key, probe in curve_table.rows[0].cells.items():
        assert probe.low - 0.02 <= 0.5 <= probe.high + 0.02, key


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
    assert result.summary.endswith("and its numbers are not to be interpreted.")
    assert "%" not in result.summary
    notes = [note for note in result.notes if "raise disentangle.min_steps" in note]
    assert [note[0] for note in notes] == ["S", "T"]
    assert result.settings["steps of the training of S and T of g0, planted"] == 25


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


def test_the_plot_of_losses_shows_the_bounds(plant: Plant) -> None:
    settings = FAST.model_copy(update={"curve": False, "min_steps": 500})
    result = disentangle.run(Context(plant(style=0.7, clusters=40), ["planted"]), settings)
    (plot,) = (plot for plot in result.plots if plot.title == "Training loss")
    assert [curve.name for curve in plot.curves] == ["S", "bound of S", "T", "bound of T"]
    for curve, bound in (plot.curves[:2], plot.curves[2:]):
        assert curve.x[-1] == bound.x[-1] == 500
        assert bound.y[0] == bound.y[1] < min(curve.y)
