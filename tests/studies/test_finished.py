"""Finished results of a study: taken by a later run if nothing has changed, and computed again otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from changeling.datasets.dataset import Dataset
from changeling.errors import DatasetError
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.registry import EXPERIMENTS
from changeling.results.result import Result
from changeling.studies import finished as finished_module
from changeling.studies.runner import run_experiments
from changeling.studies.settings import ReferenceSettings, Study
from tests.experiments.conftest import Plant

STUDY = Study(experiments=("distances", "probe"), settings={"probe": ProbeSettings(C=1.0)})


@pytest.fixture
def dataset(plant: Plant) -> Dataset:
    return plant(style=1.0, clusters=24)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The experiments that are computed, in order."""
    names: list[str] = []

    def record(name: str) -> Callable[..., Result]:
        run = EXPERIMENTS[name].run

        def run_and_record(*arguments: object) -> Result:
            names.append(name)
            return run(*arguments)  # type: ignore[arg-type]

        return run_and_record

    for name in STUDY.experiments:
        monkeypatch.setitem(EXPERIMENTS, name, replace(EXPERIMENTS[name], run=record(name)))
    return names


def study(dataset: Dataset, folder: Path, settings: Study = STUDY) -> list[Result]:
    return list(run_experiments(Dataset(dataset.path), settings, finished=folder))


def test_a_run_names_the_experiments_whose_results_it_takes(dataset: Dataset, tmp_path: Path) -> None:
    notes: list[str] = []
    finished = tmp_path / "finished"
    next(run_experiments(dataset, STUDY, finished=finished, note=notes.append))
    assert notes == []
    list(run_experiments(dataset, STUDY, finished=finished, note=notes.append))
    list(run_experiments(dataset, STUDY, finished=finished, note=notes.append))
    assert notes == [
        f"results of an earlier run, because nothing has changed: {names}; to compute them again, remove {finished}"
        for names in ("distances", "distances, probe")
    ]


def test_finished_results_are_taken_as_they_are(dataset: Dataset, tmp_path: Path, computed: list[str]) -> None:
    results = study(dataset, tmp_path / "finished")
    again = study(dataset, tmp_path / "finished")
    assert computed == ["distances", "probe"]
    for one, other in zip(results, again, strict=True):
        assert one.save(tmp_path / "one").read_bytes() == other.save(tmp_path / "other").read_bytes()


def test_an_interrupted_study_computes_the_rest(dataset: Dataset, tmp_path: Path, computed: list[str]) -> None:
    next(run_experiments(dataset, STUDY, finished=tmp_path / "finished"))
    (tmp_path / "finished" / "probe.json").write_text("{")  # of a disk that failed
    assert [result.experiment for result in study(dataset, tmp_path / "finished")] == ["distances", "probe"]
    assert computed == ["distances", "probe"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"seeds": 2},
        {"reference": ReferenceSettings(paper=True)},
        {"settings": {"probe": ProbeSettings(C=2.0)}},
    ],
    ids=str,
)
def test_other_settings_are_computed_again(
    change: dict[str, object], dataset: Dataset, tmp_path: Path, computed: list[str]
) -> None:
    study(dataset, tmp_path / "finished")
    study(dataset, tmp_path / "finished", STUDY.model_copy(update=change))
    assert computed == ["distances", "probe"] * 2


@pytest.mark.parametrize("name", ["generators.json", "features", "image"])
def test_changed_files_of_the_dataset_are_computed_again(
    name: str, dataset: Dataset, tmp_path: Path, computed: list[str]
) -> None:
    study(dataset, tmp_path / "finished")
    if name == "features":
        part = next((dataset.path / "features").rglob("*.safetensors"))
        os.utime(part, (0, 0))
    elif name == "image":
        image = dataset.resolve_path(dataset.column("path")[0])
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"an image that was missing")
    else:
        (dataset.path / name).write_text("{}\n")
    study(dataset, tmp_path / "finished")
    assert computed == ["distances", "probe"] * 2


def test_other_code_is_computed_again(
    dataset: Dataset, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study(dataset, tmp_path / "finished")
    monkeypatch.setattr(finished_module, "_hash_code", lambda: "other")
    study(dataset, tmp_path / "finished")
    assert computed == ["distances", "probe"] * 2


def test_what_could_not_run_is_tried_again(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Result:
        raise DatasetError("PyTorch is needed")

    with monkeypatch.context() as patch:
        patch.setitem(EXPERIMENTS, "probe", replace(EXPERIMENTS["probe"], run=fail))
        assert study(dataset, tmp_path / "finished")[1].summary.startswith("Not run")
    assert study(dataset, tmp_path / "finished")[1].tables


def test_features_that_experiments_make_of_images_do_not_count(dataset: Dataset) -> None:
    before = list(finished_module._list_files(dataset))
    made = dataset.path / "features" / "planted+changed"
    made.mkdir()
    (made / "part-00000.safetensors").write_bytes(b"x")
    assert before
    assert list(finished_module._list_files(dataset)) == before
