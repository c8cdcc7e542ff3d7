"""Verdicts: detect, demo, train."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from changeling.commands.shared import BackboneOption, DatasetArgument
from changeling.errors import ModelError


class Format(StrEnum):
    """How verdicts are written."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def detect(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, globs, or - for a list on standard input.")
    ],
    model: Annotated[
        Path | None, typer.Option(help="A detector's folder (see `train`); default: the bundled one.")
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="How to write the verdicts; default: as --output ends, or a table.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Call each image real, fake or unsure."""
    from changeling.detect.detector import Detector
    from changeling.detect.inputs import find_images
    from changeling.detect.output import deliver, summarise
    from changeling.progress import bars, tracked

    suffix = output.suffix.lstrip(".") if output else ""
    form = format or (Format(suffix) if suffix in list(Format) else Format.table)
    found = find_images(paths, sys.stdin.buffer)
    with bars("bytes") as progress:
        detector = Detector.load(model, progress)
    began = time.monotonic()
    with bars() as progress:
        verdicts = tracked(detector.detect(found), "detecting", len(found), progress)
        counts = deliver(verdicts, form.value, output)
    seconds = time.monotonic() - began
    typer.echo(f"{summarise(counts)}; {seconds:.1f} s, {len(found) / seconds:.1f} images/s", err=True)
    if not any(counts[label] for label in ("real", "fake", "unsure")):
        raise typer.Exit(1)


def demo(
    output: Annotated[Path, typer.Option(help="Where the pictures, results and report go.")] = Path("changeling-demo"),
) -> None:
    """Detect and study real pictures. Takes a few minutes and 180 MB the first time."""
    from changeling.demo import run_demo

    run_demo(output)


def train(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option(help="The detector's folder to make.")],
    backbone: BackboneOption = "clip-vit-b16",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Train a detector. It is judged on sources and generators left out, where there are enough."""
    from changeling.datasets.dataset import Dataset
    from changeling.detect.train import train as run
    from changeling.progress import bars

    if (output / "model.json").exists():
        raise ModelError(f"{output} is a detector already; choose another --output or remove it")
    with bars() as progress:
        trained = run(Dataset(dataset), backbone, output, seed=seed, progress=progress)
    best = trained.model.held_out[0]
    typer.echo(
        f"{output}: held-out AUROC {best.auroc[0]:.3f} ({best.auroc[1]:.3f} to {best.auroc[2]:.3f}); "
        f"finds {100 * best.found_at_5[0]:.0f} % of fakes when 5 % of reals are called fake"
    )
