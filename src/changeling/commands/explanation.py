"""The command that explains the score of a picture: explain."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from changeling.commands.shared import ModelOption, print_note


class ExplanationFormat(StrEnum):
    """A format of explanations on standard output."""

    TEXT = "text"
    JSON = "json"


def explain(
    path: Annotated[str, typer.Argument(metavar="FILE", help="The picture to explain.")],
    map: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the contributions over the picture, and write this PNG.")
    ] = None,
    orders: Annotated[
        int,
        typer.Option(
            min=2,
            max=100,
            help="Reveal the cells in so many orders and their reverses, each of 30 passes: four times as many orders "
            "halve the margins.",
        ),
    ] = 4,
    model: ModelOption = None,
    format: Annotated[ExplanationFormat, typer.Option(help="Set the format of the output.")] = ExplanationFormat.TEXT,
) -> None:
    """Print where in a picture its score comes from, and the most similar training images.

    The picture is cut into 16 cells, whose contributions add up to the score. This takes about 120 times as long as
    `detect`: 122 passes through the backbone.
    """
    from changeling.detect.explanation.contribution_map import write_map
    from changeling.detect.explanation.explain import Explainer
    from changeling.detect.explanation.output import write_json, write_text
    from changeling.progress import progress_bars

    with progress_bars() as progress:
        explainer = Explainer.load(model, progress)
    decoded = explainer.decode(path)
    with progress_bars() as progress:
        explanation = explainer.explain_decoded(path, decoded, orders, progress)
    if map is not None:
        write_map(explanation, decoded.image, map)
        print_note(f"Map: {map}")
    write = write_json if format is ExplanationFormat.JSON else write_text
    write(explanation, sys.stdout)
