"""The plan lists every step with its cost, which grows with the work, and is unknown for unknown backbones."""

import pytest

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.errors import StudyError
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.gallery import GallerySettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.studies.plan import plan_study, print_plan
from changeling.studies.settings import Study
from tests.experiments.conftest import Plant


def test_every_step_has_a_name_and_a_cost(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = plant(style=1.0)
    steps = plan_study(dataset, Study(backbones=("planted", "clip-vit-b32"), experiments=("distances", "disentangle")))
    assert [step.name for step in steps] == ["extract planted", "extract clip-vit-b32", "distances", "disentangle"]
    existing, missing, *experiments = steps
    assert (existing.seconds, existing.disk) == (0, 0)
    assert missing.input == "480 of 480 images"
    assert missing.disk == 480 * 512 * 4
    # 480 images at 8.8 GFLOP: from a fast machine with many cores to a slow one
    assert missing.seconds is not None
    assert 480 * 8.8e9 / 50e12 < missing.seconds < 480 * 8.8e9 / 1e9
    assert all(step.seconds and step.memory and step.disk for step in experiments)
    print_plan(steps)
    assert "total" in capsys.readouterr().out


def test_more_epochs_take_longer(plant: Plant) -> None:
    dataset = plant(style=1.0)
    short, long = (
        plan_study(
            dataset,
            Study(
                experiments=("disentangle",),
                settings={"disentangle": DisentangleSettings(epochs=epochs, min_steps=1, curve=False)},
            ),
        )
        for epochs in (10, 100_000)
    )
    assert (long[0].seconds or 0) > 20 * (short[0].seconds or 0)


def test_each_seed_takes_the_time_of_one(plant: Plant) -> None:
    dataset = plant(style=1.0)
    settings = {"disentangle": DisentangleSettings(epochs=10_000, curve=False)}
    studies = [Study(experiments=("disentangle",), settings=settings, seeds=seeds) for seeds in (1, 5)]
    one, five = (plan_study(dataset, study)[0] for study in studies)
    assert 2 < (five.seconds or 0) / (one.seconds or 1) < 12  # each plan measures the machine anew
    assert (five.disk or 0) > (one.disk or 0)


def test_few_images_still_take_the_time_of_the_solvers() -> None:
    (step,) = plan_study(Dataset(BUNDLED["bundled:true-clusters"]), Study(experiments=("disentangle",)))
    assert (step.seconds or 0) > 30  # two idle cores take 40 s, two busy ones 130 s


def test_costs_of_an_unknown_backbone_are_unknown(plant: Plant) -> None:
    steps = plan_study(plant(style=1.0), Study(backbones=("timm:anything",), experiments=("probe",)))
    assert [(step.seconds, step.memory) for step in steps] == [(None, None)] * 2


def test_confounds_are_estimated_by_the_number_of_files(plant: Plant) -> None:
    dataset = plant(style=1.0)
    dataset.resolve_path(dataset.column("path")[0]).touch()
    (step,) = plan_study(dataset, Study(experiments=("confounds",)))
    assert (step.name, step.input) == ("confounds", "384 image files")  # of the train and test splits
    assert all((step.seconds, step.memory, step.disk))


def test_an_experiment_that_cannot_run_has_the_reason(plant: Plant) -> None:
    (step,) = plan_study(plant(style=1.0, clusters=2), Study(experiments=("disentangle",)))
    assert step.input == "not run: to train S and T, the train split needs two clusters with a parent and a child."


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (
            Study(settings={"gallery": GallerySettings(backbone="other")}),
            r"gallery.backbone = 'other' is not among .* planted",
        ),
        (
            Study(settings={"probe": ProbeSettings(train_on="g7")}),
            r"probe.train_on = 'g7': the dataset has no children by it; choose one of all, g0",
        ),
        (
            Study(settings={"disentangle": DisentangleSettings(train_on="g7")}),
            r"disentangle.train_on = 'g7': the dataset has no children by it; choose one of each, all, g0",
        ),
    ],
)
def test_settings_that_name_something_unknown_are_errors(plant: Plant, study: Study, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        plan_study(plant(style=1.0), study)


def test_the_captions_of_a_backbone_without_a_text_tower_are_a_step(plant: Plant) -> None:
    dataset = plant(style=1.0)
    steps = plan_study(dataset, Study(backbones=("planted",), experiments=("retrieval",)))
    assert [step.name for step in steps] == ["extract planted", "extract minilm-l6", "retrieval"]
    assert steps[1].input == "360 captions"
    assert steps[1].disk == 360 * 384 * 4
    assert not steps[2].input.startswith("not run")
