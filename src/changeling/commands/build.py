"""The commands of a build: run, status, forecast, redraw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from changeling.commands.shared import RayOption, print_note, suggest_command
from changeling.errors import BuildError

if TYPE_CHECKING:
    from changeling.datasets.dataset import Dataset

DEFAULT_COMMAND = "run"
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (see `init`).")]


class BuildGroup(TyperGroup):
    """A group that passes its arguments to `run` unless they begin with the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the group."""
        if not args or args[0] not in (*self.commands, "--help"):
            if args and not Path(args[0]).exists():
                suggest_command(ctx, args[0], self.commands)
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


builds = typer.Typer(
    cls=BuildGroup,
    help="Build a dataset: make children of captioned parents. `changeling build STUDY` runs the build.",
)


@builds.command()
def run(
    file: StudyArgument = Path("study.toml"),
    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Build every N-th part from the I-th (from 0) on, beside other processes."),
    ] = "0/1",
    ray: RayOption = "",
) -> None:
    """Make children of captioned parents, as [build] and [generators] of the study file say.

    An interrupted build resumes where it stopped. build/index.html in the dataset folder shows its progress.
    """
    from changeling.build.plan import ALL_PARTS, Shard
    from changeling.build.runner import run_build
    from changeling.progress import progress_bars_or_lines
    from changeling.studies.settings import load_study

    selected = Shard.parse(shard)
    if ray and selected != ALL_PARTS:
        raise BuildError("--shard and --ray cannot be combined: with --ray one command builds all parts")
    build = load_study(file).to_build(file.parent)
    with note_how_to_resume(), progress_bars_or_lines() as progress:
        if ray:
            from changeling.distributed.build import build_on_ray

            dataset: Dataset | None = build_on_ray(build, ray, progress)
        else:
            dataset = run_build(build, selected, progress, print_note)
    summary = summarize_dataset(dataset) if dataset else "this shard is finished, others are not"
    print_note(f"{build.output}: {summary}; look at {build.output / 'build' / 'index.html'}")


@builds.command()
def status(file: StudyArgument = Path("study.toml")) -> None:
    """Print build progress and exit."""
    from rich.console import Console

    from changeling.build.status import print_status
    from changeling.studies.settings import load_study

    print_status(load_study(file).to_build(file.parent), Console())


@builds.command()
def forecast(
    file: StudyArgument = Path("study.toml"),
    processes: Annotated[
        int, typer.Option(min=1, help="How many GPUs or machines as fast as this one will share the build.")
    ] = 1,
) -> None:
    """Draw a few children, write none, and print the time and disk space that the build needs."""
    from changeling.build.forecast import forecast_build
    from changeling.studies.settings import load_study

    forecast_build(load_study(file).to_build(file.parent), processes, typer.echo)


@builds.command()
def redraw(
    file: StudyArgument,
    image_ids: Annotated[
        list[str], typer.Argument(metavar="ID", help="The image_id of each image, from images.parquet.")
    ],
) -> None:
    """Regenerate images and restore their files.

    A file is written only if its bytes equal those on record.
    """
    from changeling.build.redraw import redraw_images
    from changeling.studies.settings import load_study

    for path in redraw_images(load_study(file).to_build(file.parent), image_ids):
        typer.echo(f"{path}: restored")


@contextmanager
def note_how_to_resume() -> Iterator[None]:
    """Print what to do after an interruption: Ctrl-C or SIGTERM."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print_note("finished parts are saved; run the same command again to resume")
        raise


def summarize_dataset(dataset: Dataset) -> str:
    """How many images a built dataset has, and how many have no file."""
    from collections import Counter

    statuses = Counter(dataset.column("status").tolist())
    count, flagged = statuses.pop("ok", 0), statuses.pop("flagged", 0)
    without_file = []
    if flagged:
        without_file.append(f"{flagged:,} children flagged")
    if statuses:
        without_file.append(f"{statuses.total():,} unreadable")
    return f"{count:,} images" + (f", and without a file {' and '.join(without_file)}" if without_file else "")
