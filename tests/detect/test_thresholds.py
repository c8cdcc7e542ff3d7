"""Thresholds of the labels: chosen by source, judged on sources left out, and changed by error rates and priors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect import thresholds
from changeling.detect.cross_validation import HeldOutScores
from changeling.detect.detector import Detector
from changeling.detect.held_out import HELD_OUT_FILE, HeldOutImages, load_held_out
from changeling.detect.model import TrainedModel
from changeling.detect.thresholds import (
    Thresholds,
    change_error_rates,
    choose_thresholds,
    judge_sources,
    summarise_errors,
)
from changeling.detect.training_set import ImageRows
from changeling.errors import ModelError
from changeling.stats.source_thresholds import tolerance_limit
from tests import helpers


def make_held_out(sources: int = 40, images: int = 12, spread: float = 1.0, seed: int = 0) -> HeldOutImages:
    """Scores of real images of some sources around 0, and of generated images of as many others around 4."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], sources * images)
    numbers = np.repeat(np.arange(2 * sources), images)
    names = np.array([f"s{number}" for number in numbers], object)
    generators = np.array([f"g{number}" if label else None for number, label in zip(numbers, labels, strict=True)])
    scores = 4.0 * labels + rng.normal(0, spread, 2 * sources)[numbers] + rng.normal(size=len(labels))
    copies = scores + rng.normal(0, 0.3, len(labels))
    rows = ImageRows(labels, np.arange(len(labels)), names, generators)
    return HeldOutImages.select_tested(rows, HeldOutScores(scores, copies))


@pytest.fixture
def trained(tiny_backbone: OnnxBackbone) -> TrainedModel:
    model = helpers.tiny_detector(tiny_backbone)
    return replace(model, model=model.model.model_copy(update={"settings": {"seed": 0}}))


def test_scores_are_called_by_the_two_thresholds() -> None:
    assert Thresholds(-1.0, 2.0).call(np.array([-2.0, -1.0, 0.0, 2.0, 2.1])).tolist() == [0, -1, -1, -1, 1]


def test_thresholds_keep_their_rates_on_most_new_sources() -> None:
    chosen = choose_thresholds(make_held_out(), 0.05, 0.05)
    new = make_held_out(sources=400, images=60, seed=1)
    for label in (0, 1):
        images = new.select(label)
        wrong = (chosen.call(images.scores.images) == 1 - label).reshape(400, 60).mean(axis=1)
        assert 0.85 < (wrong <= 0.05).mean() < 1


def test_a_source_is_judged_by_thresholds_that_were_chosen_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen_on: list[set[str]] = []
    judged_then: list[set[str]] = []

    def choose(held_out: HeldOutImages, *arguments: float) -> Thresholds:
        chosen_on.append(set(held_out.rows.sources))
        return Thresholds(-2.0, 2.0)

    def count(held_out: HeldOutImages, chosen: Thresholds) -> list[thresholds.SourceErrors]:
        judged_then.append(set(held_out.rows.sources))
        return []

    monkeypatch.setattr(thresholds, "choose_thresholds", choose)
    monkeypatch.setattr(thresholds, "_count_errors", count)
    held_out = make_held_out()
    judge_sources(held_out, 0.01, 0.1)
    everything = set(held_out.rows.sources)
    assert set.union(*judged_then) == everything
    for chosen, judged in zip(chosen_on, judged_then, strict=True):
        assert chosen == everything - judged


def test_the_worst_source_is_listed_first_and_counted() -> None:
    held_out = make_held_out()
    is_odd = held_out.rows.sources == "s0"  # its photographs score as high as anything
    scores = HeldOutScores(held_out.scores.images + 50 * is_odd, held_out.scores.copies + 50 * is_odd)
    judged = judge_sources(HeldOutImages(held_out.rows, scores), 0.01, 0.1)
    worst = judged[0]
    assert (worst.source, worst.label, worst.images, worst.wrong, worst.wrong_copies) == ("s0", 0, 12, 12, 12)
    assert [errors.label for errors in judged] == [0] * 40 + [1] * 40
    rates = [errors.error_rate for errors in judged[:40]]
    assert rates == sorted(rates, reverse=True)
    summary = summarise_errors(judged, 0, 0.01)
    assert (summary.sources, summary.within) == (40, sum(rate <= 0.01 for rate in rates))
    assert (summary.large_sources, summary.large_within) == (0, 0)
    assert summary.low < summary.within / 40 < summary.high
    assert summary.mean == pytest.approx(np.mean(rates))


def test_a_class_of_few_sources_is_not_judged() -> None:
    held_out = make_held_out()
    few = held_out.take(np.flatnonzero((held_out.rows.labels == 1) | (held_out.rows.clusters < 12 * 29)))
    assert {errors.label for errors in judge_sources(few, 0.01, 0.1)} == {1}


def test_small_sources_are_not_judged_and_no_source_gives_no_rate() -> None:
    judged = judge_sources(make_held_out(images=4), 0.01, 0.1)
    assert judged == []
    assert summarise_errors(judged, 0, 0.01).sources == 0


def test_with_few_sources_the_thresholds_rest_on_clusters() -> None:
    held_out = make_held_out(sources=2, images=300)
    chosen = choose_thresholds(held_out, 0.01, 0.1)
    reals = held_out.select(0).scores
    # each cluster is one image here
    assert chosen.fake_above == max(tolerance_limit(scores, 0.99) for scores in (reals.images, reals.copies))
    assert judge_sources(held_out, 0.01, 0.1) == []


def test_classes_far_apart_leave_nothing_between_the_thresholds() -> None:
    held_out = make_held_out()
    apart = held_out.scores.images + 20 * held_out.rows.labels
    chosen = choose_thresholds(HeldOutImages(held_out.rows, HeldOutScores(apart, apart)))
    assert chosen.real_below == chosen.fake_above


def test_flips_count_opposite_and_other_labels() -> None:
    rows = make_held_out(sources=1, images=2).rows  # four images
    scores = HeldOutScores(np.array([-3.0, 3.0, 0.0, 3.0]), np.array([3.0, 3.0, -3.0, 0.0]))
    assert thresholds.measure_flips(HeldOutImages(rows, scores), Thresholds(-2.0, 2.0)) == (0.25, 0.75)


def test_held_out_images_are_saved_and_loaded(tmp_path: Path) -> None:
    saved = make_held_out()
    saved.save(tmp_path)
    loaded = load_held_out(tmp_path)
    np.testing.assert_array_equal(loaded.scores.images, saved.scores.images)
    np.testing.assert_array_equal(loaded.scores.copies, saved.scores.copies)
    assert loaded.rows.sources.tolist() == saved.rows.sources.tolist()
    assert loaded.rows.generators.tolist() == saved.rows.generators.tolist()
    assert choose_thresholds(loaded) == choose_thresholds(saved)


def test_lower_rates_give_more_extreme_thresholds(trained: TrainedModel, tmp_path: Path) -> None:
    make_held_out().save(tmp_path)
    strict, loose = (change_error_rates(trained, tmp_path, rate, rate).model for rate in (0.001, 0.2))
    assert strict.fake_above > loose.fake_above
    assert strict.real_below < loose.real_below
    assert strict.false_positives is not None
    assert (strict.false_positives.rate, strict.false_positives.sources) == (0.001, 40)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 is not all of it"])
def test_a_detector_without_held_out_scores_says_so(
    content: bytes | None, trained: TrainedModel, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / HELD_OUT_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"train the detector again|held_out.parquet cannot be read") as caught:
        change_error_rates(trained, tmp_path, 0.05, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, 0.0005, 0.21, float("nan")])
def test_rates_out_of_range_are_refused(rate: float, trained: TrainedModel, tmp_path: Path) -> None:
    make_held_out().save(tmp_path)
    with pytest.raises(ModelError, match=r"the false negative rate must be from 0.001 to 0.2"):
        change_error_rates(trained, tmp_path, None, rate)


@pytest.mark.parametrize("prior", [0.001, 0.3, 0.999])
def test_a_prior_moves_probabilities_by_bayes_rule_and_keeps_labels(prior: float, trained: TrainedModel) -> None:
    features = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    before, after = trained.predict_probabilities(features), trained.with_prior(prior).predict_probabilities(features)
    expected = prior * before / (prior * before + (1 - prior) * (1 - before))
    np.testing.assert_allclose(after, expected, rtol=1e-9)
    labels = [trained.choose_label(probability) for probability in before]
    assert set(labels) == {"real", "fake", "unsure"}
    assert [trained.with_prior(prior).choose_label(probability) for probability in after] == labels


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, float("nan")])
def test_a_prior_out_of_range_is_refused(prior: float, trained: TrainedModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    with pytest.raises(ModelError, match="the prior must be between 0 and 1"):
        Detector.load(tmp_path / "model", prior=prior)
