"""Evaluate any detector: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import DatasetArgument, print_note
from changeling.errors import EvaluationError

if TYPE_CHECKING:
    from changeling.evaluation.evaluate import EvaluatedSplit
    from changeling.evaluation.protocols.protocol import Protocol


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
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Evaluate by a ready protocol, such as genimage, or by a TOML file; see docs/evaluate.md.",
        ),
    ] = "",
    split: Annotated[
        str | None, typer.Option(help="Evaluate this split: train, val, test or all. Default: test.")
    ] = None,
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
        float,
        typer.Option(min=0.1, help="Stop a function, program or service that takes longer for 64 images, in seconds."),
    ] = 600.0,
) -> None:
    """Measure detectors of any kind on the images of a dataset.

    Scores are stored in the output folder: run again, the command continues where it stopped, and scores nothing twice.
    A detector that fails does not stop the others; the exit code is 1 if none finished.
    """
    from changeling.datasets.dataset import Dataset
    from changeling.evaluation.evaluate import EvaluationJob, build_settings
    from changeling.evaluation.results.output import print_leaderboard
    from changeling.evaluation.results.result import measure_speed
    from changeling.progress import progress_bars_or_lines
    from changeling.workflows.evaluation import LEADERBOARD, REPORT, write_evaluation

    chosen_protocol = _choose_protocol(protocol, split, condition, threshold)
    with progress_bars_or_lines() as progress:
        job = EvaluationJob(Dataset(dataset), build_settings(chosen_protocol, timeout), output, progress)
        evaluation = job.run(detector, print_note)
    result = write_evaluation(evaluation, chosen_protocol, output, print_note)
    print_leaderboard(result.tables[0], evaluation, measure_speed(evaluation))
    typer.echo(f"{result.summary}\nleaderboard: {output / LEADERBOARD}\nreport: {output / REPORT}")
    if all(each.failure is not None for each in evaluation.detectors[: len(detector)]):
        raise typer.Exit(1)


def _choose_protocol(name: str, split: str | None, conditions: list[str] | None, threshold: float | None) -> Protocol:
    """Return the protocol of a name or file, or else the one that the options make. Raises EvaluationError."""
    from changeling.evaluation.conditions import CONDITIONS, get_conditions
    from changeling.evaluation.protocols.protocol import Protocol, ThresholdSettings, load_protocol

    if not name:
        chosen = tuple(condition.name for condition in get_conditions(conditions or list(CONDITIONS)))
        return Protocol(
            name="options",
            split=_parse_split(split or "test"),
            conditions=chosen,
            threshold=ThresholdSettings(value=threshold),
        )
    given = {"--split": split, "--condition": conditions, "--threshold": threshold}
    for option, value in given.items():
        if value is not None:
            raise EvaluationError(f"--protocol {name} says what is evaluated; leave out {option}")
    return load_protocol(name)


def _parse_split(split: str) -> EvaluatedSplit:
    from changeling.evaluation.evaluate import EVALUATED_SPLITS

    for known in EVALUATED_SPLITS:
        if split == known:
            return known
    raise EvaluationError(f"--split {split}: use one of {', '.join(EVALUATED_SPLITS)}")
