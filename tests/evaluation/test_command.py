"""`changeling evaluate` as its users run it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from changeling.datasets.dataset import Dataset
from changeling.evaluation.evaluate import EvaluationJob, EvaluationSettings
from changeling.evaluation.registry import parse_specs
from changeling.evaluation.tables import build_leaderboard
from changeling.results.folder import load_results
from changeling.results.result import Result, Row
from tests import helpers

PROGRAM = """
import json, sys
lines = []
for line in sys.stdin:
    path = line.rstrip("\\n")
    lines.append(json.dumps({"path": path, "score": len(open(path, "rb").read()) / 1e6}))
print("\\n".join(reversed(lines)))
"""
FUNCTION = """
def score(paths):
    return [len(open(path, "rb").read()) % 97 - 48 for path in paths]

def fail(paths):
    raise RuntimeError("no GPU")
"""


@pytest.fixture(scope="module")
def output(dataset: Dataset, detector_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of an evaluation of five detectors of four kinds, one of which fails."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "scorer.py").write_text(FUNCTION, encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    write_score_table(dataset, folder / "scores.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = helpers.run_changeling(
            "evaluate", dataset.path, "--split", "all", "--output", folder / "out",
            "--detector", f"ours=changeling:{detector_folder}",
            "--detector", "function=python:scorer:score",
            "--detector", f"program=command:{sys.executable} program.py",
            "--detector", "table=scores:scores.csv",
            "--detector", "broken=python:scorer:fail",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken failed: the program failed with exit code 1: RuntimeError: no GPU" in done.stderr
    assert "broken (failed)" in done.stdout
    return folder / "out"


def write_score_table(dataset: Dataset, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "score"])
        for number, image_id in enumerate(reversed(dataset.column("image_id").tolist())):
            writer.writerow([image_id, number % 7 / 10])


def load_result(output: Path) -> Result:
    return next(result for result in load_results(output) if result.experiment == "evaluation")


def find_row(output: Path, detector: str) -> Row:
    """Return the row of a detector in the leaderboard."""
    return next(row for row in load_result(output).tables[0].rows if row.labels["Detector"] == detector)


def test_the_leaderboard_has_a_row_for_each_detector_and_the_null(output: Path) -> None:
    leaderboard = load_result(output).tables[0]
    columns = {row.labels["Detector"]: set(row.cells) for row in leaderboard.rows}
    aurocs = {"auroc_clean", "auroc_web", "auroc_hard", "auroc_robust"}
    accuracies = {"accuracy_clean", "accuracy_web", "accuracy_hard"}
    assert columns == {
        "ours": aurocs | accuracies,
        "function": aurocs,  # its scores are no probabilities
        "program": aurocs | accuracies,
        "table": {"auroc_clean", "accuracy_clean"},  # there are no scores of changed images
        "broken (failed)": set(),
        "file properties only": {"auroc_clean", "accuracy_clean"},
    }


def test_the_auroc_of_a_table_of_scores_is_that_of_scikit_learn(dataset: Dataset, output: Path) -> None:
    row = find_row(output, "table")
    scores = [number % 7 / 10 for number in range(len(dataset))][::-1]
    assert row.cells["auroc_clean"].value == pytest.approx(roc_auc_score(dataset.labels, scores), abs=1e-12)


def test_failures_and_the_kind_of_scores_are_in_the_notes(output: Path) -> None:
    notes = load_result(output).notes
    assert any(note.startswith("broken failed and has no results: ") for note in notes)
    assert "ours: its scores lie in [0, 1] and are taken for probabilities; its own labels are used." in notes
    assert "function: its scores are not probabilities, so it has no accuracy without a threshold." in notes


def test_differences_are_of_all_pairs_that_finished(output: Path) -> None:
    table = next(table for table in load_result(output).tables if table.key == "detector_differences")
    assert len(table.rows) == 10
    leaderboard = {row.labels["Detector"]: row.cells for row in load_result(output).tables[0].rows}
    for row in table.rows:
        first, second = (leaderboard[row.labels[name]]["auroc_clean"].value for name in ("Detector", "Against"))
        assert row.cells["auroc_clean"].value == pytest.approx(first - second)


def test_speed_is_in_a_file_of_its_own(output: Path) -> None:
    speed = json.loads((output / "speed.json").read_text())
    assert set(speed) == {"ours", "function", "program", "table"}
    assert speed["ours"]["clean"] > 0


def test_a_second_run_scores_nothing_and_gives_the_same_result(
    dataset: Dataset, output: Path, detector_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = helpers.contents(output / "scores")
    monkeypatch.setattr("changeling.detect.detector.Detector.detect", None)
    job = EvaluationJob(dataset, EvaluationSettings(split="all"), output)
    failures: list[str] = []
    evaluation = job.run(parse_specs([f"ours=changeling:{detector_folder}"]), failures.append)
    assert not failures
    assert helpers.contents(output / "scores") == before
    assert build_leaderboard(evaluation).rows[0] == find_row(output, "ours")


def test_an_evaluation_without_a_finished_detector_has_exit_code_1(dataset: Dataset, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "evaluate",
        dataset.path,
        "--split",
        "all",
        "--condition",
        "clean",
        "--output",
        tmp_path / "out",
    ]
    done = helpers.run_changeling(*arguments, "--detector", f"scores:{tmp_path / 'none.csv'}")
    assert done.returncode == 1
    assert "failed" in done.stderr
    assert "No detector finished." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "resnet:x"], "--detector resnet:x: unknown kind; use one of changeling[:FOLDER]"),
        (["--detector", "changeling", "--detector", "changeling"], "two detectors are called changeling"),
        (["--detector", "changeling", "--split", "dev"], "--split dev: use one of train, val, test, all"),
        (["--detector", "changeling", "--condition", "dirty"], "--condition dirty: use one of clean, web, hard"),
    ],
)
def test_wrong_arguments_end_in_one_line(dataset: Dataset, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = helpers.run_changeling("evaluate", dataset.path, *arguments, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
