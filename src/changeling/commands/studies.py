"""Children, features, experiments: build, extract, init, study, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.features import extract_features
from changeling.commands.shared import RayOption, print_note
from changeling.errors import BuildError, StudyError

if TYPE_CHECKING:
    from changeling.datasets.dataset import Dataset
    from changeling.results.result import Result
    from changeling.studies.settings import Study


def build(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (see `init`).")] = Path("study.toml"),
    status: Annotated[bool, typer.Option("--status", help="Say how far the build is, and end.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Make this image again: its file is put back, byte for byte. May be repeated."),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make every N-th part from the I-th (from 0) on, beside other processes.")
    ] = "0/1",
    ray: RayOption = "",
) -> None:
    """Make the children of captioned parents, as the study file's [build] and [generators] say.

    Started again, it goes on where it stopped. build/index.html in the dataset folder shows how far it is.
    """
    from changeling.build import runner
    from changeling.progress import bars
    from changeling.studies.settings import load_study

    part = runner.parse_shard(shard)
    if sum((status, bool(only), part != (0, 1), bool(ray))) > 1:
        raise BuildError("--status, --only, --shard and --ray do not go together; name one of them")
    job = load_study(file).to_build(file.parent)
    if status:
        from rich.console import Console

        from changeling.build.status import show_status

        show_status(job, Console())
    elif only:
        from changeling.build.redraw import redraw

        for path in redraw(job, only):
            typer.echo(f"{path}: the same bytes")
    else:
        with bars() as progress:
            if ray:
                from changeling.distributed.build import build_on_ray as on_ray

                made: Dataset | None = on_ray(job, ray, progress)
            else:
                made = runner.run(job, part, progress, print_note)
        typer.echo(f"{job.output}: {_told(made) if made else 'this shard is done, others are not'}", err=True)


def _told(made: Dataset) -> str:
    """How many images a dataset has, and what has none."""
    from collections import Counter

    states = Counter(made.column("status").tolist())
    good, flagged = states.pop("ok", 0), states.pop("flagged", 0)
    without = [f"{flagged:,} children flagged"] * bool(flagged) + [f"{states.total():,} unreadable"] * bool(states)
    return f"{good:,} images" + (f", and without a file {' and '.join(without)}" if without else "")


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

    A dataset folder is studied with the default settings, on all backbones that have features. A second run repeats
    the experiments, but not the extraction of features and the training of S and T.
    """
    from changeling.studies.runner import check_study, open_dataset
    from changeling.studies.settings import Study, load_study

    is_dataset = (file / "images.parquet").exists()
    loaded = Study(dataset=file.name, output=file.name) if is_dataset else load_study(file)
    dataset, output = open_dataset(loaded, file.parent), file.parent / loaded.output
    if dry_run:
        from changeling.studies.plan import plan_study, print_plan

        print_plan(plan_study(dataset, loaded))
        return
    missing = check_study(dataset, loaded)
    names = {name: extract_features(dataset, name) if missing[name] else name for name in loaded.backbones}
    _run_study(dataset, loaded.with_stored_names(names), output)


def _run_study(dataset: Dataset, study: Study, output: Path) -> None:
    """Run a study, and write its results, tables and report.

    The first result removes those of an earlier study. If a later experiment fails or the study is interrupted, tables
    and report are written of the results so far.
    """
    from changeling.experiments.projections import CHECKPOINTS
    from changeling.experiments.registry import EXPERIMENTS
    from changeling.progress import bars
    from changeling.report.exports import remove_study_files, write_exports
    from changeling.report.page import write_report
    from changeling.results.folder import RESULTS
    from changeling.studies.runner import run_study

    results: list[Result] = []
    try:
        with bars() as progress:
            for result in run_study(dataset, study, projections=output / CHECKPOINTS, progress=progress):
                if not results:
                    remove_study_files(output, EXPERIMENTS)
                result.save(output / RESULTS)
                results.append(result)
                typer.echo(f"{result.paper or result.experiment}: {result.summary}")
    finally:
        if results:
            write_exports(results, output)
            typer.echo(f"report: {write_report(results, output / 'report' / 'index.html')}")


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
