"""The command line: one short function a command."""

from __future__ import annotations

import io
import signal
import sys
import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling import __version__
from changeling.errors import ChangelingError, DatasetError, ModelError, StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from changeling.clusters.manifest import Dataset
    from changeling.clusters.rows import Sourced
    from changeling.experiments.result import Result

app = typer.Typer(
    help="Tell images made by text-to-image models from natural ones, and study why they can be told apart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
imports = typer.Typer(help="Make a dataset from images.", no_args_is_help=True)
app.add_typer(imports, name="import")
exports = typer.Typer(help="Write a dataset for others, images and all.", no_args_is_help=True)
app.add_typer(exports, name="export")

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder (see `import`).")]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="An alias such as clip-vit-b16, open_clip:ARCH/TAG, timm:NAME or onnx:FILE; @LAYER picks a layer."
    ),
]
DatasetOutput = Annotated[Path, typer.Option(help="The dataset folder to make.")]
RayOption = Annotated[
    str, typer.Option("--ray", metavar="ADDRESS", help="Work on this Ray cluster; `local` is this machine.")
]
ExportOutput = Annotated[Path, typer.Option(help="The folder to write.")]


class Format(StrEnum):
    """How verdicts are written."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


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


@app.command()
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
    from changeling.detect.delivery import deliver, summarise
    from changeling.detect.detector import Detector
    from changeling.detect.inputs import find_images
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


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where the pictures, results and report go.")] = Path("changeling-demo"),
) -> None:
    """Detect and study real pictures. Takes a few minutes and 180 MB the first time."""
    from changeling.demo import run_demo

    run_demo(output)


@imports.command("folder")
def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with real/ and fake/, or a CSV file.")],
    output: DatasetOutput,
) -> None:
    """Import images below real/ and fake/ (fake/GENERATOR/), or those that a CSV file lists."""
    from changeling.clusters.sources import from_csv, from_folder

    _import(from_csv(folder) if folder.is_file() else from_folder(folder), output)


@imports.command("coco")
def import_coco(
    annotations: Annotated[Path, typer.Argument(help="A COCO caption file, such as captions_val2017.json.")],
    images: Annotated[Path, typer.Argument(help="The folder of its photographs.")],
    output: DatasetOutput,
) -> None:
    """Import captioned photographs as parents. With Karpathy's dataset_coco.json, the splits are his."""
    from changeling.clusters.coco import from_coco

    _import(from_coco(annotations, images, note=_note), output)


@imports.command("cocofake")
def import_cocofake(
    karpathy: Annotated[Path, typer.Argument(help="Karpathy's dataset_coco.json.")],
    parents: Annotated[Path, typer.Argument(help="The folder of COCO's photographs.")],
    fakes: Annotated[
        list[str],
        typer.Option(metavar="GENERATOR=DIR", help="A generator and the folder of its release; may be repeated."),
    ],
    output: DatasetOutput,
) -> None:
    """Import COCOFake: photographs, their captions, and each generator's children."""
    from changeling.clusters.cocofake import from_cocofake

    folders: dict[str, Path] = {}
    for pair in fakes:
        generator, equals, folder = pair.partition("=")
        if not (generator and equals and folder):
            raise DatasetError(f"--fakes {pair}: write GENERATOR=DIR, such as stable-diffusion-v1.4=cocofake-v1/")
        if generator in folders:
            raise DatasetError(f"--fakes {pair}: {generator} is named twice")
        folders[generator] = Path(folder)
    _import(from_cocofake(karpathy, parents, folders, note=_note), output)


@imports.command("huggingface")
def import_huggingface(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `save_to_disk` wrote, parquet files, or images with metadata.")
    ],
    output: DatasetOutput,
) -> None:
    """Import a Hugging Face dataset that lies on disk. What `export huggingface` wrote becomes what it was."""
    from changeling.clusters.hub import import_huggingface as run
    from changeling.progress import bars

    with bars() as progress:
        dataset = run(folder, output, progress=progress)
    _tell(dataset)


@imports.command("webdataset")
def import_webdataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of .tar files.")],
    output: DatasetOutput,
) -> None:
    """Import tar files of samples. What `export webdataset` wrote becomes what it was."""
    from changeling.clusters.webdataset import import_webdataset as run
    from changeling.progress import bars

    with bars() as progress:
        dataset = run(folder, output, progress=progress)
    _tell(dataset)


@exports.command("huggingface")
def export_huggingface(
    dataset: DatasetArgument,
    output: ExportOutput,
    licence: Annotated[str, typer.Option(help="The dataset's, as the Hub spells it, such as cc-by-4.0.")] = "other",
) -> None:
    """Write parquet files with the images in them, and a card: a folder to upload to the Hugging Face Hub."""
    from changeling.clusters.hub_export import to_huggingface
    from changeling.clusters.manifest import Dataset
    from changeling.progress import bars

    with bars() as progress:
        to_huggingface(Dataset(dataset), output, licence=licence, progress=progress)
    typer.echo(f"{output}: fill in the licences in README.md before you share it", err=True)


@exports.command("webdataset")
def export_webdataset(dataset: DatasetArgument, output: ExportOutput) -> None:
    """Write tar files of samples, for WebDataset and other loaders that read on and on."""
    from changeling.clusters.manifest import Dataset
    from changeling.clusters.webdataset import to_webdataset
    from changeling.progress import bars

    with bars() as progress:
        to_webdataset(Dataset(dataset), output, progress=progress)
    typer.echo(f"{output}: written", err=True)


def _note(line: str) -> None:
    typer.echo(line, err=True)


@app.command()
def extract(dataset: DatasetArgument, backbone: BackboneOption, ray: RayOption = "") -> None:
    """Make features by one backbone, of images and, if it has a text tower, of captions.

    Started again, it goes on where it stopped.
    """
    from changeling.clusters.manifest import Dataset

    _extract(Dataset(dataset), backbone, ray)


def _extract(dataset: Dataset, backbone: str, ray: str = "") -> str:
    """Make what is missing of one backbone's features; return the name that they are kept under."""
    from changeling.backbones import registry
    from changeling.features.captions import extract_captions
    from changeling.features.extract import extract as run
    from changeling.progress import bars

    with bars("bytes") as progress:
        loaded = registry.load(backbone, progress)
    with bars() as progress:
        if isinstance(loaded, registry.TextBackbone):  # first: where the images are done, captions are, too
            extract_captions(dataset, loaded, progress=progress)
        if ray:
            from changeling.scale import extract_on_ray

            summary = extract_on_ray(dataset, loaded, ray, progress)
        else:
            summary = run(dataset, loaded, progress=progress)
    failed = ", ".join(f"{count} {status}" for status, count in sorted(summary.failed.items()))
    typer.echo(
        f"{loaded.name}: {summary.encoded} images encoded, {summary.found} were done already"
        + (f"; unreadable: {failed}" if failed else ""),
        err=True,
    )
    return loaded.name


@app.command()
def audit(
    dataset: DatasetArgument,
    output: Annotated[Path | None, typer.Option(help="Write every finding to this CSV file.")] = None,
) -> None:
    """Check a dataset: files that are missing, changed or broken, pictures in two splits, and what is odd.

    The exit code is 1 if something must be mended.
    """
    from rich.console import Console

    from changeling.clusters.audit import audit as run
    from changeling.clusters.findings import as_table, write_findings
    from changeling.clusters.manifest import Dataset
    from changeling.progress import bars

    with bars() as progress:
        found = run(Dataset(dataset), progress=progress)
    if found.findings:
        Console(highlight=False).print(as_table(found))
    if output:
        write_findings(found, output)
    typer.echo(f"{dataset}: {found.summary}", err=True)
    if found.must_be_mended:
        raise typer.Exit(1)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The study file to write.")] = Path("study.toml"),
    paper: Annotated[bool, typer.Option("--paper", help="The paper's full setting.")] = False,
) -> None:
    """Write a study file with every setting in it."""
    from importlib.resources import files

    if path.exists():
        raise StudyError(f"{path} exists already; choose another name or remove it")
    template = files("changeling").joinpath("data", "studies", "paper.toml" if paper else "default.toml")
    path.write_text(template.read_text("utf-8"), encoding="utf-8")
    typer.echo(f"{path}: edit it, then run `changeling study {path}`")


@app.command()
def study(
    file: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study file (see `init`), or a dataset folder.")
    ] = Path("study.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, on what, how long and in how much memory.")
    ] = False,
) -> None:
    """Run a study: extract what is missing, run the experiments, write results, tables and report.

    A dataset folder is studied with the default settings, on every backbone that has features. Started again, a
    study runs its experiments anew: what is kept is features and trained heads.
    """
    from changeling.experiments.settings import Study, load_study
    from changeling.experiments.study import chosen_backbones, open_dataset, run_study
    from changeling.features.store import missing_rows
    from changeling.progress import bars
    from changeling.report.exports import remove_old, write_exports
    from changeling.report.page import write_report

    alone = (file / "images.parquet").exists()
    asked = Study(dataset=file.name, output=file.name) if alone else load_study(file)
    dataset, output = open_dataset(asked, file.parent), file.parent / asked.output
    if dry_run:
        from changeling.experiments.plan import plan, show

        show(plan(dataset, asked))
        return
    chosen_backbones(dataset, asked)  # what cannot be run is said before anything is made
    # a backbone all of whose features are there is not even loaded
    asked = asked.naming({b: _extract(dataset, b) if missing_rows(dataset, b) else b for b in asked.backbones})
    results: list[Result] = []
    with bars() as progress:
        for result in run_study(dataset, asked, heads=output / "heads", progress=progress):
            if not results:
                remove_old(output)
            result.save(output / "results")
            results.append(result)
            typer.echo(f"{result.paper or result.experiment}: {result.summary}")
    write_exports(results, output)
    typer.echo(f"report: {write_report(results, output / 'report' / 'index.html')}")


@app.command()
def report(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A folder of results, or that which `study` wrote them to.")
    ],
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
) -> None:
    """Write the report again. It needs the results alone, neither features nor models."""
    from changeling.report.page import load_results, write_report

    typer.echo(f"report: {write_report(load_results(results), output)}")


@app.command()
def build(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (see `init`).")] = Path("study.toml"),
    status: Annotated[bool, typer.Option("--status", help="Say how far the build is, and end.")] = False,
    only: Annotated[
        str, typer.Option(metavar="ID", help="Draw this child again: its file is put back, byte for byte.")
    ] = "",
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make every N-th part from the I-th (from 0) on, beside other processes.")
    ] = "0/1",
    ray: RayOption = "",
) -> None:
    """Make the children of captioned parents, as the study file's [build] and [generators] say.

    Started again, it goes on where it stopped. build/index.html in the dataset folder shows how far it is.
    """
    from changeling.experiments.settings import load_study
    from changeling.generate import run
    from changeling.progress import bars

    job = load_study(file).to_build(file.parent)
    if status:
        from rich.console import Console

        run.show_status(job, Console())
    elif only:
        typer.echo(f"{run.redraw(job, only)}: the same bytes")
    else:
        with bars() as progress:
            if ray:
                from changeling.scale import build_on_ray as on_ray

                made: Dataset | None = on_ray(job, ray, progress)
            else:
                made = run.run(job, run.parse_shard(shard), progress, _note)
        typer.echo(
            f"{job.output}: {f'{len(made):,} images' if made else 'this shard is done, others are not'}", err=True
        )


@app.command()
def train(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option(help="The detector's folder to make.")],
    backbone: BackboneOption = "clip-vit-b16",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Train a detector. It is judged on sources and generators left out, where there are enough."""
    from changeling.clusters.manifest import Dataset
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


def _import(images: Iterator[Sourced], output: Path) -> None:
    from changeling.clusters.sources import import_dataset
    from changeling.progress import bars

    with bars() as progress:
        dataset = import_dataset(images, output, progress=progress)
    _tell(dataset)


def _tell(dataset: Dataset) -> None:
    """Say what was imported."""
    from changeling.detect.delivery import printable

    bad = dataset.column("image_id")[dataset.column("status") != "ok"]
    some = ", ".join(map(printable, bad[:3])) + (", ..." if len(bad) > 3 else "")
    files = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    typer.echo(
        f"{dataset.path}: {len(dataset)} images ({int(dataset.labels.sum())} fake) in "
        f"{len(set(dataset.clusters))} clusters, {dataset.captions.num_rows} captions"
        + (f"; {files} cannot be read ({some}): see `status` in images.parquet" if len(bad) else ""),
        err=True,
    )
