"""The methods section: all facts that it takes to do a study again, told from the Results themselves."""

from __future__ import annotations

import importlib.metadata

import numpy as np

from changeling.report.methods import tell
from changeling.results.result import Result


def one(experiment: str = "probe", **changes: object) -> Result:
    made = {"experiment": experiment, "title": experiment.title(), "summary": "", "settings": {}}
    return Result.model_validate(made | changes)


def test_the_dataset_is_told_with_its_hash_and_all_its_counts(studied: list[Result]) -> None:
    (sentence,) = tell(studied).dataset
    digest = studied[0].dataset["hash"]
    assert sentence == (
        f"The dataset is tiny (hash <code>{digest}</code>): 364 images, 104 clusters, 104 parents and 260 children."
    )


def test_facts_that_differ_name_their_experiments() -> None:
    datasets = [{"name": "a", "hash": "1", "clusters": 1, "children": 1}, {"name": "b", "hash": "2", "images": 0}]
    made = tell([one(dataset=datasets[0]), one("maps", dataset=datasets[1]), one("empty")])
    assert made.dataset == [
        "<strong>Probe:</strong> The dataset is a (hash <code>1</code>): 1 cluster and 1 child.",
        "<strong>Maps:</strong> The dataset is b (hash <code>2</code>): 0 images.",
    ]


def test_text_that_looks_like_markup_is_text() -> None:
    (sentence,) = tell([one("<i>", dataset={"name": "<b>", "hash": "1", "images": 2})]).dataset
    assert "<b>" not in sentence
    assert "&lt;b&gt;" in sentence


def test_sources_and_versions_are_told_once(studied: list[Result]) -> None:
    made = tell(studied)
    assert sorted(source.backbone for source in made.features) == ["other-planted", "planted"]
    (versions,) = made.versions
    assert f"numpy {np.__version__}" in versions
    assert f" and openTSNE {importlib.metadata.version('openTSNE')}." in versions


def test_numbers_are_counted_and_those_beside_the_papers(studied: list[Result], full: list[Result]) -> None:
    assert (tell(studied).beside, tell(full).beside) == (0, 240)
    assert tell(studied).numbers == sum(len(row.cells) for one in studied for made in one.tables for row in made.rows)
    assert tell([one()]).numbers == 0


def test_every_setting_is_listed_under_its_experiment(studied: list[Result]) -> None:
    bases = tell(studied).settings
    assert [basis.experiments for basis in bases] == [result.experiment.capitalize() for result in studied]
    facts = [dict(basis.facts) for basis in bases]
    assert [list(some) for some in facts] == [list(result.settings) for result in studied]
    assert facts[3]["learning rate"] == "0.001"
    assert facts[3]["resamples"] == "2,000"


def test_a_seed_is_no_quantity() -> None:
    (basis,) = tell([one(settings={"seed": 20230400, "images": 20230400, "C": 0.31622776601683794})]).settings
    assert basis.facts == (("seed", "20230400"), ("images", "20,230,400"), ("C", "0.316228"))
    assert basis.experiments == ""
