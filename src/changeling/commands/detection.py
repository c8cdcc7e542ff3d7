"""Commands of the detector: detect, demo, train."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import (
    BackboneOption,
    DatasetArgument,
    FalsePositiveRateOption,
    ModelOption,
    RayOption,
    RuntimeOption,
    TrustListOption,
    find_images_and_note_others,
    print_note,
)
from changeling.detect.formats import VerdictFormat, check_evidence_format, parse_format, resolve_format
from changeling.detect.runtime_names import Runtime
from changeling.errors import ChangelingError, DistributedError, ModelError
from changeling.files import check_output_file, check_output_folder

if TYPE_CHECKING:
    from changeling.detect.detection import Detection
    from changeling.detect.detector import Verdict
    from changeling.detect.labelled import LabelledVerdict
    from changeling.detect.model import ModelInfo
    from changeling.detect.verdict_parts import VerdictParts
    from changeling.progress import Progress


class LabelSource(StrEnum):
    """Where the truth about images comes from."""

    FOLDER = "folder"


def detect(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, globs, or - for a list on standard input.")
    ],
    model: ModelOption = None,
    false_positive_rate: FalsePositiveRateOption = None,
    false_negative_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=0.2,
            help="Set how many of a source's generated images may be called real, in the same way. Default: 0.2.",
        ),
    ] = None,
    prior: Annotated[
        float,
        typer.Option(
            help="Set the share of generated images among yours, between 0 and 1. It moves probabilities, not labels."
        ),
    ] = 0.5,
    format: Annotated[
        VerdictFormat | None,
        typer.Option(
            parser=parse_format,
            metavar=f"<{'|'.join(VerdictFormat)}>",
            help="Set the format of the verdicts. Default: the suffix of --output, or a table on standard output.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the verdicts to this file instead of standard output: .json, .jsonl, .csv or .parquet."
        ),
    ] = None,
    stable: Annotated[
        bool,
        typer.Option(
            "--stable",
            help="Also detect each image re-saved, scaled and cropped: unsure if labels differ. Takes 7 times as long.",
        ),
    ] = False,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Add what each file says about its origin (see `inspect`) to the verdicts."),
    ] = False,
    trust_list: TrustListOption = None,
    labels: Annotated[
        LabelSource | None,
        typer.Option(
            help="Take the truth from the names of folders (real, fake, 0_real, 1_fake, nature, ai), and print a "
            "confusion matrix, error rates with intervals, and the worst mistakes."
        ),
    ] = None,
    ray: RayOption = "",
    runtime: RuntimeOption = Runtime.AUTO,
) -> None:
    """Label each image real, fake or unsure.

    With --output, the command continues where it stopped when it is run again after an interruption.
    """
    from changeling.detect.detection import DESCRIPTION, Detection, find_runtime_to_resume, has_current_part
    from changeling.detect.detector import Detector
    from changeling.detect.evidence.inspect import EvidenceReader
    from changeling.detect.model import BUNDLED, load_model
    from changeling.detect.output import LABELS, write_verdicts
    from changeling.detect.verdict_parts import read_verdicts, remove_parts, verdict_parts
    from changeling.progress import progress_bars, track

    verdict_format = resolve_format(format, output)
    if ray and not output:
        raise DistributedError("--ray needs a file for the verdicts, which all machines see: add --output FILE")
    if output:
        check_output_file(output)
    if evidence:
        check_evidence_format(verdict_format)
    if evidence and labels:
        raise ChangelingError("--evidence and --labels exclude each other")
    reader = EvidenceReader(trust_list) if evidence else None
    images = find_images_and_note_others(paths)
    if labels:
        images = _find_labelled_images(images)
    labelled: list[LabelledVerdict] = []
    parts, is_resumed = verdict_parts(output, len(images)) if output else None, False
    if parts and runtime == Runtime.AUTO:
        runtime = find_runtime_to_resume(parts, load_model(model or BUNDLED).model.backbone)
        is_resumed = runtime != Runtime.AUTO
    load = partial(
        Detector.load,
        model,
        false_positive_rate=false_positive_rate,
        false_negative_rate=false_negative_rate,
        prior=prior,
    )
    with progress_bars() as progress:
        detection = Detection(load(progress=progress, runtime=runtime), stable, reader)
        if parts and is_resumed and not has_current_part(detection, images, parts):  # parts of another run
            detection = Detection(load(progress=progress), stable, reader)
    detector = detection.detector
    started, existing = time.monotonic(), 0
    with progress_bars() as progress:
        if parts:
            existing = _write_parts(detection, images, parts, ray, progress)
            verdicts = read_verdicts(parts)
        else:
            verdicts = track(detection.detect(images), DESCRIPTION, len(images), progress)
        counts = write_verdicts(_add_truth(verdicts, labelled) if labels else verdicts, verdict_format, output)
    if parts:
        remove_parts(parts)
    speed = _format_speed(len(images) - existing, time.monotonic() - started)
    has_chosen_rates = false_positive_rate is not None or false_negative_rate is not None
    _print_summary(counts, f"{speed}; runtime {detector.runtime}", detector.model, has_chosen_rates)
    if output:
        print_note(f"Verdicts: {output}")
    if labels:
        _print_evaluation(labelled)
    if not any(counts[label] for label in LABELS):
        raise typer.Exit(1)


def _print_summary(counts: Counter[str], speed: str, model: ModelInfo, has_chosen_rates: bool) -> None:
    """Print how many images have which label, where the thresholds are if an image was read, and what to do next."""
    from changeling.detect.model import describe_error_rates, describe_thresholds
    from changeling.detect.output import LABELS, format_summary, list_advice

    print_note(f"{format_summary(counts)}; {speed}")
    if any(counts[label] for label in LABELS):
        print_note(describe_thresholds(model))
    for sentence in list_advice(counts):
        print_note(sentence)
    if has_chosen_rates:
        print_note(describe_error_rates(model))


def _format_speed(image_count: int, seconds: float) -> str:
    if not image_count:
        return f"{seconds:.1f} s"
    speed = f"{image_count / seconds:.1f} images/s" if seconds < image_count else f"{seconds / image_count:.1f} s/image"
    return f"{seconds:.1f} s, {speed}"


def _find_labelled_images(images: list[str]) -> list[str]:
    """Return the images in folders whose names are a truth, and print the names of the others."""
    from changeling.detect.labelled import FOLDER_TRUTHS, describe_unlabelled, find_truth

    found = [image for image in images if find_truth(image)]
    if not found:
        names = ", ".join(FOLDER_TRUTHS)
        raise ChangelingError(
            f"--labels folder: no image is in a folder named {names}; sort your images into real/ and fake/"
        )
    if len(found) < len(images):
        typer.echo(describe_unlabelled([image for image in images if not find_truth(image)]), err=True)
    return found


def _add_truth(verdicts: Iterable[Verdict], labelled: list[LabelledVerdict]) -> Iterator[LabelledVerdict]:
    """Yield verdicts with the truth that their folders tell, and append them to `labelled`."""
    from changeling.detect.labelled import add_truth

    for verdict in verdicts:
        labelled.append(add_truth(verdict))
        yield labelled[-1]


def _print_evaluation(verdicts: list[LabelledVerdict]) -> None:
    from changeling.detect.labelled import describe_evaluation, evaluate_verdicts

    typer.echo(f"\n{describe_evaluation(evaluate_verdicts(verdicts), verdicts)}", err=True)


def _write_parts(
    detection: Detection, images: Sequence[str], parts: VerdictParts, ray_address: str, progress: Progress
) -> int:
    """Write the parts of verdicts that are missing or outdated. Return how many images an earlier run detected."""
    from changeling.detect.detection import detect_missing_parts, remove_outdated_parts

    remove_outdated_parts(detection, images, parts)
    existing = len(images) - parts.count_rows(parts.missing)
    if existing:
        print_note(f"{parts.folder}: {existing} of {len(images)} images are done, continuing with the others")
    if ray_address:
        from changeling.distributed.detect import detect_on_ray

        detect_on_ray(detection, images, parts, ray_address, progress)
    else:
        detect_missing_parts(detection, images, parts, progress)
    return existing


def demo(
    output: Annotated[Path, typer.Option(help="Write the pictures, the results and the report to this folder.")] = Path(
        "changeling-demo"
    ),
) -> None:
    """Run the detector and a study on real images. Takes a few minutes and downloads 180 MB the first time."""
    from changeling.demo.run import run_demo

    run_demo(output)


def train(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option(help="Write the detector to this folder.")],
    backbone: BackboneOption = "clip-vit-b16",
    seed: Annotated[int, typer.Option(min=0, help="Set the seed of the folds and of the bootstrap.")] = 0,
) -> None:
    """Train a detector. Its metrics come from held-out sources and generators, or from held-out clusters."""
    from changeling.datasets.dataset import Dataset
    from changeling.detect.train import TrainingSettings, train_detector
    from changeling.progress import progress_bars_or_lines

    if (output / "model.json").exists():
        raise ModelError(f"{output} is a detector already; choose another --output or remove it")
    check_output_folder(output)
    with progress_bars_or_lines() as progress:
        detector = train_detector(
            Dataset(dataset),
            output,
            backbone=backbone,
            settings=TrainingSettings(seed=seed),
            note=print_note,
            progress=progress,
        )
    overall = detector.model.held_out[0]
    typer.echo(
        f"{output}: held-out AUROC {overall.auroc[0]:.3f} ({overall.auroc[1]:.3f} to {overall.auroc[2]:.3f}), "
        f"TPR {100 * overall.tpr_at_5[0]:.0f} % at 5 % FPR"
    )
