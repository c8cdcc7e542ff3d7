"""Arguments and options that several commands take, and messages on standard error."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from changeling.detect.runtime_names import Runtime

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder (see `import`).")]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="Use this backbone: an alias such as clip-vit-b16, open_clip:ARCH/TAG, timm:NAME or onnx:FILE; @LAYER "
        "selects a layer."
    ),
]
ModelOption = Annotated[
    Path | None, typer.Option(help="Use the detector in this folder (see `train`) instead of the bundled one.")
]
FalsePositiveRateOption = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=0.2,
        help="Set how many of a source's real images may be called fake; kept on most held-out sources. Default: 0.01.",
    ),
]
RayOption = Annotated[
    str, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster; `local` starts one on this machine.")
]
RuntimeOption = Annotated[
    Runtime,
    typer.Option(
        help="Run the backbone's exported graph (exact), a faster one that agrees up to rounding (compact), or one in "
        "8-bit integers that is faster yet, whose probabilities differ a little (quantized). Default: what was chosen "
        "of the first two on this machine, on first use or by `doctor`; or exact."
    ),
]
TrustListOption = Annotated[
    Path | None,
    typer.Option(
        envvar="CHANGELING_TRUST_LIST",
        metavar="FILE",
        help="Trust the signers of content credentials whom the certificates in this PEM file certify. By default no "
        "signer is trusted.",
    ),
]


def print_note(message: str) -> None:
    """Print a message to standard error."""
    typer.echo(message, err=True)


def find_images_and_note_others(paths: list[str]) -> list[str]:
    """Return the images that arguments name, `-` for a list on standard input, and print which files are left out."""
    from changeling.detect.inputs import find_images
    from changeling.detect.output import describe_other_files

    other_files: list[str] = []
    images = find_images(paths, sys.stdin.buffer, other_files=other_files)
    if other_files:
        print_note(describe_other_files(other_files))
    return images


def suggest_command(context: Any, name: str, commands: Iterable[str]) -> None:
    """Fail with a suggestion if a name is not that of a command, but nearly."""
    names = list(commands)
    similar = difflib.get_close_matches(name, names, 1)
    if name not in names and similar:
        context.fail(f"No such command {name!r}. Did you mean {similar[0]!r}?")
