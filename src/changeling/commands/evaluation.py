"""Evaluate any detector: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import DatasetArgument, print_note
from changeling.errors import EvaluationError
from changeling.files import check_output_folder

if TYPE_CHECKING:
    from changeling.evaluation.evaluate import EvaluatedSplit
    from changeling.results.result import Result


def evaluate(
    dataset: DatasetArgument,
    detector: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]KIND[:ARGUMENT]",
            help="Evaluate this detector; may be repeated. changeling is the bundled one; see docs/evaluate.md for all "
            "kinds. NAME is its name in tables.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Write scores, results, tables and report to this folder.")],
    split: Annotated[str, typer.Option(help="Evaluate this split: train, val, test or all.")] = "test",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Score the images clean, as the web delivers them (web), or strongly transformed (hard); may be "
            "repeated. Default: all three.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Call a score above it fake. Default: the detector's own labels, or 0.5 for probabilities."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Stop a program or service that takes longer for 64 images, in seconds.")
    ] = 600.0,
) -> None:
    """Measure detectors of any kind on the images of a dataset.

    Scores are stored in the output folder: run again, the command continues where it stopped, and scores nothing twice.
    A detector that fails does not stop the others; the exit code is 1 if none finished.
    """
    from changeling.datasets.dataset import Dataset
    from changeling.evaluation.conditions import CONDITIONS, get_conditions
    from changeling.evaluation.evaluate import EvaluationJob, EvaluationSettings
    from changeling.evaluation.output import print_leaderboard
    from changeling.evaluation.registry import parse_specs
    from changeling.evaluation.result import describe_evaluation, measure_speed, write_speed
    from changeling.progress import progress_bars

    specs = parse_specs(detector)
    settings = EvaluationSettings(
        _parse_split(split), get_conditions(condition or list(CONDITIONS)), threshold, timeout
    )
    check_output_folder(output)
    with progress_bars() as progress:
        evaluation = EvaluationJob(Dataset(dataset), settings, output, progress).run(specs, print_note)
    result = describe_evaluation(evaluation, settings)
    write_speed(evaluation, output)
    print_leaderboard(result.tables[0], evaluation, measure_speed(evaluation))
    _write_result(result, output)
    if all(each.failure is not None for each in evaluation.detectors[: len(specs)]):
        raise typer.Exit(1)


def _parse_split(split: str) -> EvaluatedSplit:
    from changeling.evaluation.evaluate import EVALUATED_SPLITS

    for known in EVALUATED_SPLITS:
        if split == known:
            return known
    raise EvaluationError(f"--split {split}: use one of {', '.join(EVALUATED_SPLITS)}")


def _write_result(result: Result, output: Path) -> None:
    """Write the result, its tables and the report, and print the summary."""
    from changeling.report.exports import write_exports
    from changeling.report.page import write_report
    from changeling.results.folder import RESULTS

    result.save(output / RESULTS)
    write_exports([result], output)
    typer.echo(result.summary)
    typer.echo(f"report: {write_report([result], output / 'report' / 'index.html')}")
