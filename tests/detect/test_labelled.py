"""Verdicts on labelled folders: truth from paths, error rates, and how they are printed and written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.detector import Verdict
from changeling.detect.labelled import (
    LabelledVerdict,
    Truth,
    add_truth,
    describe_evaluation,
    evaluate_verdicts,
    find_truth,
)
from changeling.detect.model import Label
from tests import helpers
from tests.helpers import run_changeling


@pytest.mark.parametrize(
    ("path", "truth"),
    [
        ("real/a.jpg", "real"),
        ("set/Fake/deep/a.jpg", "fake"),
        ("fake/0_real/a.jpg", "real"),
        ("real/1_fake/x/a.jpg", "fake"),
        ("imagenet/nature/a.jpg", "real"),
        ("imagenet/ai/a.jpg", "fake"),
        ("a/b.jpg", None),
        ("real", None),
        ("unreal/real.jpg", None),
    ],
)
def test_the_truth_is_the_name_of_the_nearest_folder(path: str, truth: Truth | None) -> None:
    assert find_truth(path) == truth


def judge(truth: Truth, label: Label | None, probability: float | None) -> LabelledVerdict:
    return LabelledVerdict(f"{truth}/{label}.jpg", label, probability, "tiny", truth=truth)


WORKED = [
    judge("real", "real", 0.1),
    judge("real", "unsure", 0.5),
    judge("real", "fake", 0.9),
    judge("real", None, None),
    judge("fake", "fake", 0.95),
    judge("fake", "real", 0.05),
    judge("fake", "fake", 0.7),
    judge("fake", "unsure", 0.4),
]


def test_a_worked_example() -> None:
    evaluation = evaluate_verdicts(WORKED)
    assert [(row.truth, row.real, row.fake, row.unsure, row.unreadable) for row in evaluation.confusion] == [
        ("real", 1, 1, 1, 1),
        ("fake", 1, 2, 1, 0),
    ]
    assert (evaluation.accuracy.count, evaluation.accuracy.images) == (3, 5)
    assert (evaluation.decided.count, evaluation.decided.images) == (5, 7)
    assert (evaluation.false_positives.count, evaluation.false_positives.images) == (1, 3)
    assert (evaluation.false_negatives.count, evaluation.false_negatives.images) == (1, 4)
    assert (evaluation.true_positives.count, evaluation.true_positives.images) == (2, 4)
    assert evaluation.auroc.value == pytest.approx(6 / 12)  # pairs in which the fake has the larger probability
    assert evaluation.mistakes == (5, 2)
    exact = binomtest(1, 3).proportion_ci(method="exact")
    assert (evaluation.false_positives.low, evaluation.false_positives.high) == pytest.approx((exact.low, exact.high))


judged = st.builds(
    judge,
    st.sampled_from(("real", "fake")),
    st.sampled_from(("real", "fake", "unsure")),
    st.integers(0, 20).map(lambda twentieths: twentieths / 20),
)


@given(st.lists(judged, max_size=60))
def test_rates_lie_in_their_intervals_and_the_curve_has_the_area(verdicts: list[LabelledVerdict]) -> None:
    evaluation = evaluate_verdicts(verdicts)
    for rate in (evaluation.accuracy, evaluation.decided, evaluation.false_positives, evaluation.false_negatives):
        if rate.images:
            assert rate.low is not None
            assert rate.high is not None
            assert rate.value is not None
            assert 0 <= rate.low <= rate.value <= rate.high <= 1
        else:
            assert (rate.value, rate.low, rate.high) == (None, None, None)
    labels = [verdict.truth == "fake" for verdict in verdicts]
    if len(set(labels)) == 2:
        x = [point.false_positive_rate for point in evaluation.roc]
        y = [point.true_positive_rate for point in evaluation.roc]
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert evaluation.auroc.value == pytest.approx(np.trapezoid(y, x))
        assert evaluation.auroc.value == pytest.approx(roc_auc_score(labels, [v.probability for v in verdicts]))
    else:
        assert evaluation.roc == ()
        assert evaluation.auroc.value is None


def test_small_folders_say_how_little_they_say() -> None:
    verdicts = [judge("real", "real", 0.1)] * 30 + [judge("fake", "fake", 0.9)] * 29
    first, last = evaluate_verdicts(verdicts).notes
    assert "29 fake images say little" in first
    assert "independent" in last
    assert len(evaluate_verdicts([*verdicts, verdicts[-1]]).notes) == 1
    assert "no readable fake images" in evaluate_verdicts(verdicts[:30]).notes[0]


def test_an_evaluation_is_printed_with_its_mistakes_and_no_control_characters() -> None:
    hostile = LabelledVerdict("fake/\x1b[2J\n.jpg", "real", 0.001, "tiny", truth="fake")
    text = describe_evaluation(evaluate_verdicts([*WORKED, hostile]), [*WORKED, hostile])
    assert "\x1b" not in text
    mistakes = text[text.index("Mistakes") :].splitlines()
    assert mistakes[1].endswith("0.001  called real, is fake: fake/\\x1b[2J\\n.jpg")
    assert "Mistakes: none." in describe_evaluation(evaluate_verdicts(WORKED[:1]), WORKED[:1])


def test_a_verdict_without_a_labelled_folder_has_no_truth() -> None:
    with pytest.raises(ValueError, match="no folder says"):
        add_truth(Verdict("a.jpg", "real", 0.1, "tiny"))


@pytest.fixture
def folder(tmp_path: Path, tiny_backbone: OnnxBackbone) -> Path:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    for name, make in (("real", helpers.natural), ("fake", helpers.generated), ("other", helpers.natural)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for seed in range(3):
            make(seed).save(tmp_path / "pictures" / name / f"{seed}.png")
    (tmp_path / "pictures" / "fake" / "broken.png").write_bytes(b"not an image")
    return tmp_path


def test_detect_evaluates_labelled_folders(folder: Path) -> None:
    command = ["detect", str(folder / "pictures"), "--model", str(folder / "model"), "--labels", "folder"]
    ran = run_changeling(*command, "--format", "jsonl")
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0
    assert {(row["truth"], Path(row["path"]).parent.name) for row in rows} == {("real", "real"), ("fake", "fake")}
    assert len(rows) == 7
    assert "3 left out" in ran.stderr
    assert "other/0.png" in ran.stderr
    for sentence in ("False-positive rate", "AUROC", "3 real images say little"):
        assert sentence in ran.stderr
    for suffix in ("csv", "parquet"):
        output = folder / f"verdicts.{suffix}"
        assert run_changeling(*command, "--output", output).returncode == 0
        if suffix == "csv":
            with output.open(newline="", encoding="utf-8") as file:
                truths = [row["truth"] for row in csv.DictReader(file)]
        else:
            truths = pq.read_table(output)["truth"].to_pylist()
        assert truths == [row["truth"] for row in rows]


def test_labels_need_labelled_folders_and_exclude_evidence(folder: Path) -> None:
    other = folder / "pictures" / "other"
    ran = run_changeling("detect", other, "--model", folder / "model", "--labels", "folder")
    assert ran.returncode == 2
    assert "no image is in a folder named real, 0_real, nature, fake, 1_fake, ai" in ran.stderr
    ran = run_changeling("detect", other, "--model", folder / "model", "--labels", "folder", "--evidence")
    assert (ran.returncode, ran.stderr) == (2, "changeling: --evidence and --labels exclude each other\n")
