"""The methods section: everything that it takes to repeat a study, from the Results themselves."""

from __future__ import annotations

import importlib.metadata

import numpy as np

from changeling.report.methods import describe_methods
from changeling.results.result import Result


def make_result(experiment: str = "probe", **changes: object) -> Result:
    made = {"experiment": experiment, "title": experiment.title(), "summary": "", "settings": {}}
    return Result.model_validate(made | changes)


def test_the_dataset_is_described_with_its_hash_and_counts(studied: list[Result]) -> None:
    (sentence,) = describe_methods(studied).dataset
    digest = studied[0].dataset["hash"]
    assert sentence == (
        f"The dataset “tiny” (hash <code>{digest}</code>) has 364 images, 104 clusters, 104 parents and 260 children."
    )


def test_datasets_that_differ_have_the_names_of_their_experiments() -> None:
    datasets = [{"name": "a", "hash": "1", "clusters": 1, "children": 1}, {"name": "b", "hash": "2", "images": 0}]
    made = describe_methods(
        [make_result(dataset=datasets[0]), make_result("maps", dataset=datasets[1]), make_result("empty")]
    )
    assert made.dataset == [
        "<strong>Probe:</strong> The dataset “a” (hash <code>1</code>) has 1 cluster and 1 child.",
        "<strong>Maps:</strong> The dataset “b” (hash <code>2</code>) has 0 images.",
    ]


def test_names_are_escaped() -> None:
    (sentence,) = describe_methods([make_result("<i>", dataset={"name": "<b>", "hash": "1", "images": 2})]).dataset
    assert "<b>" not in sentence
    assert "&lt;b&gt;" in sentence


def test_sources_and_versions_are_listed_once(studied: list[Result]) -> None:
    made = describe_methods(studied)
    assert sorted(source.backbone for source in made.features) == ["other-planted", "planted"]
    (versions,) = made.versions
    assert f"numpy {np.__version__}" in versions
    assert f" and openTSNE {importlib.metadata.version('openTSNE')}." in versions


def test_estimates_and_the_papers_values_are_counted(studied: list[Result], full: list[Result]) -> None:
    assert (describe_methods(studied).paper_value_count, describe_methods(full).paper_value_count) == (0, 240)
    assert describe_methods(studied).estimate_count == sum(
        len(row.cells) for one in studied for made in one.tables for row in made.rows
    )
    assert describe_methods([make_result()]).estimate_count == 0


def test_every_setting_is_listed_under_its_experiment(studied: list[Result]) -> None:
    groups, was_run = describe_methods(studied).settings, [result for result in studied if result.settings]
    assert [result.experiment for result in studied if result not in was_run] == ["reencoded", "robustness"]
    assert [group.experiments for group in groups] == [result.experiment.capitalize() for result in was_run]
    settings = [dict(group.settings) for group in groups]
    assert [list(names) for names in settings] == [list(result.settings) for result in was_run]
    assert settings[3]["learning rate"] == "0.001"


def test_a_seed_has_no_thousands_separators() -> None:
    (group,) = describe_methods(
        [make_result(settings={"seed": 20230400, "images": 20230400, "C": 0.31622776601683794})]
    ).settings
    assert group.settings == (("seed", "20230400"), ("images", "20,230,400"), ("C", "0.316228"))
    assert group.experiments == ""
