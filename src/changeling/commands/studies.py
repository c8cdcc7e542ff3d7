"""Features and experiments: extract, init, study, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeling.commands.shared import print_note
from changeling.errors import StudyError
from changeling.files import check_output_folder


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The study file to write.")] = Path("study.toml"),
    paper: Annotated[bool, typer.Option("--paper", help="Use the settings of the paper.")] = False,
) -> None:
    """Write a study file with all settings."""
    from changeling.studies.template import render_default_study, render_paper_study

    if path.exists():
        raise StudyError(f"{path} already exists; choose another name or remove it")
    path.write_text(render_paper_study() if paper else render_default_study(), encoding="utf-8")
    typer.echo(f"{path}: edit it, then run `changeling study {path}`")


def study(
    file: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study file (see `init`), or a dataset folder.")
    ] = Path("study.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the steps and their estimated cost, and exit.")
    ] = False,
) -> None:
    """Extract missing features, run the experiments, and write results, tables and report.

    A dataset folder is studied with the default settings, on all backbones that have features. A second run continues
    where the first stopped, and takes the results of finished experiments if nothing has changed.
    """
    from changeling.progress import progress_bars_or_lines
    from changeling.studies.runner import open_dataset
    from changeling.studies.settings import Study, load_study
    from changeling.workflows.studies import extract_study_features, write_study

    is_dataset = (file / "images.parquet").exists()
    loaded = Study(dataset=file.name, output=file.name) if is_dataset else load_study(file)
    dataset, output = open_dataset(loaded, file.parent), file.parent / loaded.output
    check_output_folder(output)
    if dry_run:
        from changeling.studies.plan import plan_study, print_plan

        print_plan(plan_study(dataset, loaded))
        return
    with progress_bars_or_lines() as progress:
        extracted = extract_study_features(dataset, loaded, note=print_note, progress=progress)
        write_study(dataset, extracted, output, note=typer.echo, progress=progress)


def report(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A folder of results, or the output folder of a study.")
    ],
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
) -> None:
    """Write the report of existing results. It needs neither features nor models."""
    from changeling.report.page import write_report
    from changeling.results.folder import load_results

    typer.echo(f"report: {write_report(load_results(results), output)}")
