"""What commands share: arguments, options, and how a note is told."""

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder (see `import`).")]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="An alias such as clip-vit-b16, open_clip:ARCH/TAG, timm:NAME or onnx:FILE; @LAYER picks a layer."
    ),
]
RayOption = Annotated[
    str, typer.Option("--ray", metavar="ADDRESS", help="Work on this Ray cluster; `local` is this machine.")
]


def note(line: str) -> None:
    """Tell the user something beside what was asked for."""
    typer.echo(line, err=True)
