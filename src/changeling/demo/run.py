"""Run the demo: verdicts on sample images, studies of the bundled datasets, and a report of both."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.demo.contrast import contrast_studies
from changeling.demo.detector_result import describe_detector
from changeling.demo.samples import fetch_samples
from changeling.detect.detector import Detector, Verdict
from changeling.detect.model import ModelInfo, describe_error_rates, describe_thresholds
from changeling.detect.output import build_table, print_table
from changeling.experiments.projections import CHECKPOINTS
from changeling.progress import progress_bars
from changeling.report.exports import write_exports
from changeling.report.page import write_report
from changeling.results.folder import RESULTS
from changeling.results.result import Result
from changeling.studies.finished import FINISHED
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study

TITLES = {  # of the studies, by the folder that they are written to
    "reconstructions": "472 photographs and their reconstructions by five autoencoders",
    "true-clusters": "18 photographs and the images that generators made from their descriptions",
}
STUDIES = {
    # S and T would take minutes on so many clusters
    "reconstructions": Study(experiments=("distances", "probe", "crossgen")),
    "true-clusters": Study(
        backbones=("clip-vit-b16", "dinov2-vit-s14"), experiments=("distances", "probe", "disentangle", "embedding")
    ),
}


def run_demo(output: Path) -> None:
    """Label sample images, study the bundled datasets, and write results and reports below `output`.

    Raises:
        WeightsError: images or weights are not in the cache and cannot be downloaded.
    """
    console = Console(highlight=False)
    console.rule("[bold]1. Is this image generated?[/]")
    with progress_bars() as progress:
        samples = fetch_samples(output / "pictures", progress)
        detector = Detector.load(progress=progress)
    verdicts = list(detector.detect(samples))
    _print_verdicts(console, verdicts, detector.model)
    console.rule("[bold]2. How can we tell? Two studies[/]")
    studies = {name: _study_bundled(console, name, output / name) for name in STUDIES}
    results = [contrast_studies(studies), describe_detector(detector.model, verdicts)]
    for result in results:
        result.save(output / RESULTS)
    links = {title: f"../{name}/report/index.html" for name, title in TITLES.items()}
    report = write_report(results, output / "report" / "index.html", links)
    console.rule("[bold]Findings[/]")
    for result in results:
        console.print(f"[bold]{result.title}[/]\n{result.summary}\n")
    console.print(f"[bold]Open the report:[/] {report.absolute()}", soft_wrap=True)
    console.print(f"Then try   {find_command()} detect YOUR-IMAGES", soft_wrap=True, markup=False)


def find_command() -> str:
    """Return what to type for this installation: `changeling`, or its path where the shell would not find it."""
    command = Path(sys.executable).parent / "changeling"
    if shutil.which("changeling") == str(command) or not command.exists():
        return "changeling"
    folder = Path.cwd()
    return shlex.quote(str(command.relative_to(folder) if command.is_relative_to(folder) else command))


def describe_unsure(model: ModelInfo) -> str:
    """Return what unsure means, how often to expect it, and what to do about it."""
    rates = [
        (rate, kind)
        for rate, kind in ((model.false_positives, "real"), (model.false_negatives, "generated"))
        if rate is not None and rate.sources
    ]
    shares = " and ".join(f"{100 * (1 - rate.right - rate.wrong):.1f} % of the {kind} images" for rate, kind in rates)
    return (
        "Unsure says nothing either way: the detector would rather abstain than accuse a real photograph. "
        + (f"It is common: {shares} of held-out sources were unsure. " if shares else "")
        + "What to do: find the original file and who published it first, and read what it says about its origin "
        "(`changeling inspect FILE`). `changeling detect --false-positive-rate 0.05 FILE` finds more generated images, "
        "and calls more photographs fake."
    )


def _study_bundled(console: Console, name: str, output: Path) -> list[Result]:
    """Study a bundled dataset, and write results, tables and report below `output`."""
    console.print(f"[bold]{TITLES[name]}[/]")
    dataset = Dataset(BUNDLED[f"bundled:{name}"])
    with progress_bars() as progress:
        results = list(
            run_experiments(
                dataset,
                STUDIES[name],
                projections=output / CHECKPOINTS,
                finished=output / FINISHED,
                progress=progress,
            )
        )
    for result in results:
        result.save(output / RESULTS)
        console.print(f"[bold]{result.paper or result.title}[/]  {result.summary}")
    write_exports(results, output)
    write_report(results, output / "report" / "index.html")
    return results


def _print_verdicts(console: Console, verdicts: Sequence[Verdict], model: ModelInfo) -> None:
    """Print the verdicts, the number of each label for real and for generated images, and the thresholds."""
    print_table(build_table(verdicts), sys.stdout)
    for folder, title in (("real", "photographs"), ("fake", "generated images")):
        labels = Counter(verdict.label for verdict in verdicts if Path(verdict.path).parent.name == folder)
        counts = ", ".join(f"{labels[label]} labelled {label}" for label in ("real", "unsure", "fake"))
        console.print(f"Of {labels.total()} {title}: {counts}.")
    console.print(describe_thresholds(model))
    console.print(describe_unsure(model), markup=False)
    console.print(describe_error_rates(model))
