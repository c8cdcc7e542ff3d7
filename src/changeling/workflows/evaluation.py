"""Evaluate detectors, and write tables and pages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.errors import ReportError
from changeling.evaluation.evaluate import EvaluationJob, build_settings
from changeling.evaluation.evaluation import Evaluation
from changeling.evaluation.protocols.expected_dataset import list_differences, write_protocol
from changeling.evaluation.protocols.protocol import Protocol
from changeling.evaluation.results.result import describe_protocol_evaluation, write_speed
from changeling.evaluation.results.worst_images import describe_worst_images
from changeling.files import StrPath
from changeling.progress import Progress, silent
from changeling.report.exports import remove_table_files, write_exports
from changeling.report.leaderboard import write_leaderboard
from changeling.report.page import write_report
from changeling.results.folder import RESULTS
from changeling.results.result import Result

REPORT = Path("report") / "index.html"  # in the output folder
LEADERBOARD = "leaderboard.html"


def evaluate_detectors(
    dataset: Dataset,
    detectors: Sequence[str],
    output: StrPath,
    *,
    protocol: Protocol | None = None,
    note: Note = ignore_note,
    progress: Progress = silent,
) -> Result:
    """Measure detectors of any kind on the images of a dataset, write tables and pages to `output`, and return them.

    Scores are stored in `output`: a second call scores nothing twice. A detector that fails does not stop the others;
    the table and the notes of the Result name it.

    Args:
        dataset: with real and fake images in the split that is evaluated.
        detectors: each as `[NAME=]KIND[:ARGUMENT]`, such as "changeling" or "theirs=scores:theirs.csv": see
            docs/evaluate.md.
        output: a folder for the scores, `results/`, `tables.csv`, `latex/`, `leaderboard.html` and `report/`.
        protocol: which split, under which conditions, by which metrics; by default the test split under all three
            conditions.
        note: called with what is worth knowing: failures, differences from the protocol.
        progress: called after each batch of images.

    Raises:
        EvaluationError: a kind of detector is unknown, two have one name, the split lacks real or fake images, or the
            disk is full.
    """
    chosen, folder = protocol or Protocol(name="options"), Path(output)
    evaluation = EvaluationJob(dataset, build_settings(chosen), folder, progress).run(detectors, note)
    return write_evaluation(evaluation, chosen, folder, note)


def write_evaluation(evaluation: Evaluation, protocol: Protocol, output: Path, note: Note) -> Result:
    """Write the tables and the pages of an evaluation to `output`, and return its Result."""
    result = describe_protocol_evaluation(evaluation, protocol)
    for difference in list_differences(protocol, evaluation):
        note(difference)
    write_protocol(protocol, evaluation, output)
    write_speed(evaluation, output)
    images = describe_worst_images(evaluation)
    earlier = output / RESULTS / f"{result.experiment}.json"
    if earlier.exists():
        with suppress(ReportError):  # of another version, or damaged: it is written again
            remove_table_files(Result.load(earlier), output)
    for each in (result, images):
        each.save(output / RESULTS)
    write_exports([result], output)
    write_leaderboard(result, output / LEADERBOARD, images.sheets)
    write_report([result, images], output / REPORT)
    return result
