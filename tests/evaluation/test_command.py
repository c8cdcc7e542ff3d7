"""`changeling evaluate` as its users run it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from changeling.datasets.dataset import Dataset
from changeling.detect.detector import Detector
from changeling.detect.runtime_names import Runtime
from changeling.evaluation.detectors.models.model_detector import BATCH
from changeling.evaluation.evaluate import EvaluationJob, EvaluationSettings
from changeling.evaluation.results.tables import build_leaderboard
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
REFUSING_PROGRAM = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"path": line.rstrip("\\n"), "error": "too dark"}))
"""
FUNCTION = """
def score(paths):
    return [len(open(path, "rb").read()) % 97 - 48 for path in paths]

def fail(paths):
    raise RuntimeError("no GPU")
"""


@pytest.fixture(scope="module")
def output(
    dataset: Dataset, detector_folder: Path, vit_folder: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of an evaluation of eight detectors of six kinds, two of which fail."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "scorer.py").write_text(FUNCTION, encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "refusing.py").write_text(REFUSING_PROGRAM, encoding="utf-8")
    write_score_table(dataset, folder / "scores.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = helpers.run_changeling(
            "evaluate", dataset.path, "--split", "all", "--output", folder / "out",
            "--detector", f"ours=changeling:{detector_folder}",
            "--detector", "function=python:scorer:score",
            "--detector", f"program=command:{sys.executable} program.py",
            "--detector", "table=scores:scores.csv",
            "--detector", f"transformer=hf:{vit_folder}",
            "--detector", f"service={server}/length",
            "--detector", f"refusing=command:{sys.executable} refusing.py",
            "--detector", "broken=python:scorer:fail",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken failed: the program failed with exit code 1: RuntimeError: no GPU" in done.stderr
    assert "broken (failed)" in done.stdout
    assert "an image that a detector calls unsure counts as incorrect" in " ".join(done.stdout.split())
    assert "refusing failed: it has no score for any image; the first: too dark" in done.stderr
    assert "refusing (failed)" in done.stdout
    return folder / "out"


def write_score_table(dataset: Dataset, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "probability"])
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
        "program": aurocs,  # it does not call them so
        "service": aurocs,
        "table": {"auroc_clean", "accuracy_clean"},  # there are no scores of changed images
        "transformer": aurocs | accuracies,
        "broken (failed)": set(),
        "refusing (failed)": set(),
        "file properties only": {"auroc_clean", "accuracy_clean"},
    }


def test_each_kind_has_the_metrics_that_scikit_learn_computes_from_its_own_scores(
    dataset: Dataset, output: Path, detector_folder: Path, vit_folder: Path
) -> None:
    paths = [dataset.resolve_path(path) for path in dataset.column("path")]
    sizes = [path.stat().st_size for path in paths]
    expected: dict[str, Sequence[float]] = {
        "ours": [verdict.probability or 0 for verdict in load_exactly(detector_folder).detect(paths)],
        "function": [size % 97 - 48 for size in sizes],
        "program": sizes,
        "service": sizes,
        "table": [number % 7 / 10 for number in range(len(dataset))][::-1],
        "transformer": compute_vit_probabilities(vit_folder, paths),
    }
    metrics = {
        row.labels["Detector"]: row for row in load_result(output).tables[1].rows if row.labels["Images"] == "Clean"
    }
    assert set(metrics) == {*expected, "file properties only"}
    for name, scores in expected.items():
        cells, labels = metrics[name].cells, dataset.labels
        assert cells["auroc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert cells["average_precision"].value == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        if name in ("table", "transformer"):
            predictions = np.array(scores) > 0.5
            accuracy = balanced_accuracy_score(labels, predictions)
            assert cells["balanced_accuracy"].value == pytest.approx(accuracy, abs=1e-12)


def load_exactly(folder: Path) -> Detector:
    """Load a detector as evaluations do, with the same last digits."""
    return Detector.load(folder, runtime=Runtime.EXACT)


def compute_vit_probabilities(folder: Path, paths: Sequence[Path]) -> list[float]:
    """Return the probability of the first class, as transformers computes it."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    probabilities: list[float] = []
    with torch.no_grad():
        for start in range(0, len(paths), BATCH):
            opened = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
            logits = model(**processor(images=opened, return_tensors="pt")).logits
            probabilities += logits.double().softmax(dim=1)[:, 0].tolist()
    return probabilities


def test_failures_and_the_kind_of_scores_are_in_the_notes(output: Path) -> None:
    notes = load_result(output).notes
    assert any(note.startswith("broken failed and has no results: ") for note in notes)
    assert "ours: its scores are probabilities; its own labels are used." in notes
    assert "table: its scores are probabilities; fake above 0.5." in notes
    assert "function: its scores are not probabilities, so it has no accuracy without a threshold." in notes
    assert (
        "program: its scores are not called probabilities, although they lie in [0, 1], so it has no accuracy without "
        "a threshold."
    ) in notes


def test_differences_are_of_all_pairs_that_finished(output: Path) -> None:
    table = next(table for table in load_result(output).tables if table.key == "detector_differences")
    assert len(table.rows) == 21
    leaderboard = {row.labels["Detector"]: row.cells for row in load_result(output).tables[0].rows}
    for row in table.rows:
        first, second = (leaderboard[row.labels[name]]["auroc_clean"].value for name in ("Detector", "Against"))
        assert row.cells["auroc_clean"].value == pytest.approx(first - second)


def test_speed_is_in_a_file_of_its_own(output: Path) -> None:
    speed = json.loads((output / "speed.json").read_text())
    assert set(speed) == {"ours", "function", "program", "service", "table", "transformer"}
    assert speed["ours"]["clean"] > 0


def test_a_second_run_scores_nothing_and_gives_the_same_result(
    dataset: Dataset, output: Path, detector_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = helpers.contents(output / "scores")
    monkeypatch.setattr("changeling.detect.detector.Detector.detect", None)
    job = EvaluationJob(dataset, EvaluationSettings(split="all"), output)
    failures: list[str] = []
    evaluation = job.run([f"ours=changeling:{detector_folder}"], failures.append)
    assert not failures
    assert helpers.contents(output / "scores") == before
    assert build_leaderboard(evaluation).rows[0] == find_row(output, "ours")


def test_no_scores_are_stored_of_a_detector_that_has_none(output: Path) -> None:
    folders = {path.name.split("-")[0]: list(path.rglob("*.parquet")) for path in (output / "scores").iterdir()}
    assert folders["program"]
    assert not folders["refusing"]


def test_tables_that_a_second_evaluation_lacks_are_removed(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_score_table(dataset, tmp_path / "scores.csv")
    command = ["evaluate", str(dataset.path), "--split", "all", "--condition", "clean", "--output", "out"]
    arguments = ["--detector", "one=scores:scores.csv", "--detector", "two=scores:scores.csv"]
    assert helpers.run_changeling(*command, *arguments).returncode == 0
    (tmp_path / "out" / "latex" / "mine.tex").write_text("% of the author")
    before = {path.name for path in (tmp_path / "out" / "latex").iterdir()}
    assert helpers.run_changeling(*command, "--detector", "one=scores:missing.csv").returncode == 1
    after = {path.name for path in (tmp_path / "out" / "latex").iterdir()}
    assert before - after == {"detector_differences.tex"}
    assert "mine.tex" in after


def test_an_evaluation_without_a_finished_detector_has_exit_code_1(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "refusing.py").write_text(REFUSING_PROGRAM, encoding="utf-8")
    options: list[str | Path] = ["--split", "all", "--condition", "clean", "--output", tmp_path / "out"]
    detectors = [f"scores:{tmp_path / 'none.csv'}", f"refusing=command:{sys.executable} {tmp_path / 'refusing.py'}"]
    done = helpers.run_changeling(
        "evaluate", dataset.path, *options, "--detector", detectors[0], "--detector", detectors[1]
    )
    assert done.returncode == 1
    assert done.stderr.count("failed") == 2
    assert "No detector finished." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "resnet:x"], "detector 'resnet:x' is of no known kind; use one of changeling[:FOLDER]"),
        (["--detector", "changeling", "--detector", "changeling"], "two detectors are called changeling"),
        (["--detector", "changeling", "--split", "dev"], "--split dev: use one of train, val, test, all"),
        (
            ["--detector", "changeling", "--condition", "dirty"],
            "there is no condition 'dirty'; use one of clean, web, hard",
        ),
    ],
)
def test_wrong_arguments_end_in_one_line(dataset: Dataset, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = helpers.run_changeling("evaluate", dataset.path, *arguments, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
