"""The command line: its commands, its exit codes, and how errors are printed."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from changeling import __version__
from changeling.commands import (
    build,
    datasets,
    detection,
    evaluation,
    explanation,
    features,
    inspection,
    runtime,
    service,
    studies,
)
from changeling.errors import ChangelingError
from changeling.files import replaced_path

COMMANDS = (  # in the order of the help
    detection.detect,
    inspection.inspect,
    explanation.explain,
    detection.demo,
    runtime.doctor,
    service.serve,
    service.add_key,
    features.extract,
    datasets.audit,
    studies.init,
    studies.study,
    studies.report,
    detection.train,
    evaluation.evaluate,
)

app = typer.Typer(
    help="Tell images made by text-to-image models from natural ones, and study why they can be told apart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line as a process: the entry point of the program."""
    # raise SystemExit as an interrupt does, so that temporary files are removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run_command_line()


def run_command_line(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default the one in sys.argv, and exit.

    An error that the user can correct is printed in one line; the exit code is then 2.
    """
    _configure_warnings()
    _configure_output()
    try:
        app(arguments, prog_name="changeling")
    except ChangelingError as error:
        _print_error(str(error))
        sys.exit(2)
    except OSError as error:
        _print_error(f"{replaced_path(str(error.filename or 'the system'))}: {error.strerror or error}")
        sys.exit(2)
    except SystemExit as end:
        if end.code in (15, 130, 143):  # an interrupt, reported by typer, or SIGTERM, caught by Ray or by `main`
            _print_error("stopped")
        raise


def _configure_warnings() -> None:
    """Ignore Pillow's warnings about invalid metadata; raise those about huge images, which makes them unreadable."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _configure_output() -> None:
    """Escape characters that the terminal cannot print."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_error(message: str) -> None:
    typer.secho(f"changeling: {message}", err=True, fg="red")


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"changeling {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tell images made by text-to-image models from natural ones, and study why they can be told apart."""


datasets.imports.command("features")(features.import_features)
datasets.imports.command("caption-features")(features.import_caption_features)
app.add_typer(datasets.imports, name="import")
app.add_typer(datasets.exports, name="export")
app.add_typer(build.builds, name="build")
for command in COMMANDS:
    app.command()(command)
