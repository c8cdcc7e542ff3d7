"""The command line: which commands there are, and how what goes wrong is said."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from typing import Annotated

import typer

from changeling import __version__
from changeling.commands import datasets, detection, studies
from changeling.errors import ChangelingError

app = typer.Typer(
    help="Tell images made by text-to-image models from natural ones, and study why they can be told apart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; what a user can mend is said in one line, with exit code 2."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")  # of odd metadata; what matters becomes a row
    warnings.simplefilter("error", Image.DecompressionBombWarning)  # which is a row, too
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name shows its code
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends as an interrupt does: nothing half-written stays
    try:
        app()
    except ChangelingError as error:
        typer.secho(f"changeling: {error}", err=True, fg="red")
        sys.exit(2)
    except OSError as error:
        typer.secho(f"changeling: {error.filename or 'the system'}: {error.strerror or error}", err=True, fg="red")
        sys.exit(2)
    except SystemExit as end:
        if end.code in (15, 130, 143):  # an interrupt, as typer passes it on, or SIGTERM, as Ray or we catch it
            typer.secho("changeling: stopped", err=True, fg="red")
        raise


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"changeling {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tell images made by text-to-image models from natural ones, and study why they can be told apart."""


app.add_typer(datasets.imports, name="import")
app.add_typer(datasets.exports, name="export")
for command in (
    *(detection.detect, detection.demo),
    *(studies.build, studies.extract, datasets.audit, studies.init, studies.study, studies.report),
    detection.train,
):
    app.command()(command)
