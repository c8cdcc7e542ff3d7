"""The command inspect: what image files say about their origin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import ModelOption, TrustListOption, find_images_and_note_others, print_note
from changeling.detect.formats import InspectFormat
from changeling.errors import ModelError, WeightsError

if TYPE_CHECKING:
    from changeling.detect.detector import Detector


def inspect(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, globs, or - for a list on standard input.")
    ],
    score: Annotated[
        bool, typer.Option("--score/--no-score", help="Print the detector's verdict, too, or the evidence alone.")
    ] = True,
    model: ModelOption = None,
    trust_list: TrustListOption = None,
    format: Annotated[InspectFormat, typer.Option(help="Set the format of the output.")] = InspectFormat.TEXT,
) -> None:
    """Print what image files say about their origin, and the verdict on their pixels.

    The evidence: content credentials (C2PA), the digital source type in XMP, the camera in EXIF, and the parameters of
    programs that generate images, each with what it is worth and how easily it is forged.
    """
    from changeling.detect.evidence.inspect import EvidenceReader
    from changeling.detect.evidence.output import write_inspected

    if model is not None and not score:
        raise ModelError("--model and --no-score exclude each other")
    images = find_images_and_note_others(paths)
    reader = EvidenceReader(trust_list)
    detector = _load_detector_if_possible(model) if score else None
    files = reader.inspect(images) if detector is None else reader.detect(detector.detect, images)
    if not write_inspected(files, format):
        raise typer.Exit(1)


def _load_detector_if_possible(model: Path | None) -> Detector | None:
    """Load a detector; where its weights cannot be downloaded, print a note and return None."""
    from changeling.detect.detector import Detector
    from changeling.progress import progress_bars

    try:
        with progress_bars() as progress:
            return Detector.load(model, progress)
    except WeightsError as error:
        print_note(f"no verdicts: {error}")
        return None
