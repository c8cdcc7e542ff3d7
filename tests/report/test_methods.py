"""The methods section: all facts that it takes to do a study again, told from the Results themselves."""

from __future__ import annotations

from changeling.experiments.result import Estimate, Result, Row
from changeling.report.methods import WORDS, tell
from tests.report import samples


def one(experiment: str = "probe", **changes: object) -> Result:
    made = {"experiment": experiment, "title": experiment.title(), "summary": "", "settings": {}}
    return Result.model_validate(made | changes)


def test_the_dataset_is_told_with_its_hash_and_all_its_counts() -> None:
    (sentence,) = tell(samples.full_study(8)).dataset
    for shown in ("The dataset is cocofake", "5b5b5b5b5b…", "123,287 clusters", "30,000 val images and 30,000 test"):
        assert shown in sentence
    assert f'title="{samples.DATASET["hash"]}"' in sentence


def test_facts_that_differ_name_their_experiments() -> None:
    made = tell([one(dataset={"name": "a", "clusters": 1}), one("maps", dataset={"name": "b"}), one("empty")])
    assert made.dataset == [
        "<strong>Probe:</strong> The dataset is a: 1 cluster.",
        "<strong>Maps:</strong> The dataset is b.",
    ]


def test_a_dataset_without_a_name_and_text_that_looks_like_markup() -> None:
    assert tell([one(dataset={"split_by": "<b>hash</b>"})]).dataset == ["A dataset: split by &lt;b&gt;hash&lt;/b&gt;."]


def test_seeds_and_versions_are_told() -> None:
    seed, versions = tell(samples.full_study(8)).running
    assert seed.startswith("Every random draw starts from the seed 0")
    assert "python 3.11.2, changeling 0.1.0, numpy 2.2.1, scikit-learn 1.7.0 and openTSNE 1.0.2" in versions
    (other,) = tell([one(settings={"seed": 1}), one("maps", settings={"seed": 20230400})]).running
    assert "the seed 1 (Probe) and the seed 20230400 (Maps)" in other


def test_intervals_are_told_with_what_the_settings_say() -> None:
    how, beside = tell(samples.full_study(8)).intervals
    for shown in ("percentile bootstrap over clusters", "2,000 times", "Clopper and Pearson"):
        assert shown in how
    assert "Beside 240 numbers" in beside
    first = samples.full_study(8)[0]
    fewer = first.model_copy(update={"settings": {"resamples": 500}})
    assert "500 times" in tell([fewer]).intervals[0]
    assert "2,000 times" in tell([first.model_copy(update={"settings": {}})]).intervals[0]
    assert tell([one()]).intervals == []


def test_without_the_papers_values_nothing_is_said_of_them() -> None:
    cell = Estimate(value=0.5, low=0.4, high=0.6, clusters=9, images=54)
    table = samples.full_study(8)[0].tables[0]
    ours = table.model_copy(update={"rows": (Row(labels={"Backbone": "a"}, cells={"val_min": cell}),)})
    assert len(tell([one(tables=(ours,))]).intervals) == 1


def test_every_setting_is_listed_and_the_words_that_need_it_are_explained() -> None:
    made = tell(samples.full_study(8))
    assert [basis.experiments for basis in made.settings][1] == "Can a linear probe call each image real or fake?"
    facts = {fact.name: fact.value for basis in made.settings for fact in basis.facts}
    assert facts["weight decay"] == "0.01"
    assert facts["C of clip-rn50"] == "0.1"
    words = dict(made.words)
    assert {"C", "AdamW", "temperature", "perplexity", "seed", "resamples", "ties"} <= set(words)
    assert "l2" not in words
    assert words["C"] == WORDS["C"]


def test_a_word_inside_another_is_not_explained() -> None:
    assert tell([one(settings={"Cs": "batches", "backbone": "seed-c"})]).words == []


def test_hashes_are_shortened_only_if_they_are_long() -> None:
    made = tell(samples.full_study(8))
    assert made.shortened
    assert made.features[0][1:] == ("0e0e0e0e0e…", "0c0c0c0c0c…")
    short = samples.SOURCES[0].model_copy(update={"weights": "e47a", "preprocessing": "6b9d"})
    assert not tell([one(sources=(short,))]).shortened
