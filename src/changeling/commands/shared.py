"""Arguments and options that several commands take, and messages on standard error."""

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder (see `import`).")]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="Use this backbone: an alias such as clip-vit-b16, open_clip:ARCH/TAG, timm:NAME or onnx:FILE; @LAYER "
        "selects a layer."
    ),
]
RayOption = Annotated[
    str, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster; `local` starts one on this machine.")
]


def print_note(message: str) -> None:
    """Print a message to standard error."""
    typer.echo(message, err=True)
