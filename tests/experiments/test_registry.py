"""Every experiment of the table can be planned, checked and documented from its own module."""

import inspect

import pytest

from changeling.experiments.base import BackboneSettings, Context, Machine, UnknownDimError
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.probe import EXPERIMENT as PROBE
from changeling.experiments.registry import EXPERIMENTS
from tests.experiments.conftest import Plant, draw_files


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_cost_on_a_dataset_that_it_can_run_on(name: str, plant: Plant) -> None:
    dataset = plant(style=1.0, generators=2, with_captions=True)
    draw_files(dataset)
    backbone = "clip-vit-b16" if name in ("reencoded", "robustness") else "planted"  # they encode images
    context, experiment = Context(dataset, [backbone]), EXPERIMENTS[name]
    settings = context.get_settings(experiment)
    experiment.check(context, settings)
    cost = experiment.cost(context, settings, Machine(speed=1e11, dims={backbone: 24}))
    assert cost.seconds > 0
    assert cost.memory > 0
    assert cost.disk > 0


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "confounds"])
def test_the_cost_is_unknown_while_the_length_of_features_is(name: str, plant: Plant) -> None:
    context = Context(plant(style=1.0), ["unknown"])
    with pytest.raises(UnknownDimError):
        EXPERIMENTS[name].cost(context, context.get_settings(EXPERIMENTS[name]), Machine(speed=1e11, dims={}))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_setting_has_a_default_and_a_description(name: str) -> None:
    experiment = EXPERIMENTS[name]
    experiment.settings()
    assert all(field.description for field in experiment.settings.model_fields.values())
    assert inspect.getdoc(inspect.getmodule(experiment.run))


def test_the_settings_of_a_context_are_those_of_the_study_or_the_defaults(plant: Plant) -> None:
    dataset = plant(style=1.0)
    given = ProbeSettings(C=2.0)
    assert Context(dataset, [], settings={"probe": given}).get_settings(PROBE) is given
    assert Context(dataset, []).get_settings(PROBE) == ProbeSettings()
    with pytest.raises(TypeError, match="probe takes ProbeSettings, not BackboneSettings"):
        Context(dataset, [], settings={"probe": BackboneSettings()}).get_settings(PROBE)
