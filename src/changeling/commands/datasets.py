"""Datasets: import, export, audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from changeling.commands.shared import DatasetArgument, print_note
from changeling.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from changeling.datasets.dataset import Dataset
    from changeling.datasets.importers.base import Sourced
    from changeling.progress import Progress

imports = typer.Typer(help="Make a dataset from images.", no_args_is_help=True)
exports = typer.Typer(help="Write a dataset for others, images and all.", no_args_is_help=True)

DatasetOutput = Annotated[Path, typer.Option(help="The dataset folder to make.")]
ExportOutput = Annotated[Path, typer.Option(help="The folder to write.")]


@imports.command("folder")
def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with real/ and fake/, or a CSV file.")],
    output: DatasetOutput,
) -> None:
    """Import images below real/ and fake/ (fake/GENERATOR/), or those that a CSV file lists."""
    from changeling.datasets.importers.folder import from_csv, from_folder

    _import_rows(from_csv(folder) if folder.is_file() else from_folder(folder), output)


@imports.command("coco")
def import_coco(
    annotations: Annotated[Path, typer.Argument(help="A COCO caption file, such as captions_val2017.json.")],
    images: Annotated[Path, typer.Argument(help="The folder of its photographs.")],
    output: DatasetOutput,
) -> None:
    """Import captioned photographs as parents. With Karpathy's dataset_coco.json, the splits are his."""
    from changeling.datasets.importers.coco import from_coco

    _import_rows(from_coco(annotations, images, note=print_note), output)


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
    from changeling.datasets.importers.cocofake import from_cocofake

    folders: dict[str, Path] = {}
    for pair in fakes:
        generator, equals, folder = pair.partition("=")
        if not (generator and equals and folder):
            raise DatasetError(f"--fakes {pair}: write GENERATOR=DIR, such as stable-diffusion-v1.4=cocofake-v1/")
        if generator in folders:
            raise DatasetError(f"--fakes {pair}: {generator} is named twice")
        folders[generator] = Path(folder)
    _import_rows(from_cocofake(karpathy, parents, folders, note=print_note), output)


@imports.command("huggingface")
def import_huggingface(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `save_to_disk` wrote, parquet files, or images with metadata.")
    ],
    output: DatasetOutput,
) -> None:
    """Import a Hugging Face dataset that lies on disk. What `export huggingface` wrote becomes what it was."""
    from changeling.datasets.importers.huggingface import import_huggingface as run

    _import(lambda progress: run(folder, output, progress=progress))


@imports.command("webdataset")
def import_webdataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of .tar files.")],
    output: DatasetOutput,
) -> None:
    """Import tar files of samples. What `export webdataset` wrote becomes what it was."""
    from changeling.datasets.importers.webdataset import import_webdataset as run

    _import(lambda progress: run(folder, output, progress=progress))


@exports.command("huggingface")
def export_huggingface(
    dataset: DatasetArgument,
    output: ExportOutput,
    licence: Annotated[str, typer.Option(help="The dataset's, as the Hub spells it, such as cc-by-4.0.")] = "other",
) -> None:
    """Write parquet files with the images in them, and a card: a folder to upload to the Hugging Face Hub."""
    from changeling.datasets.dataset import Dataset
    from changeling.datasets.exporters.huggingface import to_huggingface
    from changeling.progress import bars

    with bars() as progress:
        to_huggingface(Dataset(dataset), output, licence=licence, progress=progress)
    typer.echo(f"{output}: written; fill in the licences in README.md before you share it", err=True)


@exports.command("webdataset")
def export_webdataset(dataset: DatasetArgument, output: ExportOutput) -> None:
    """Write tar files of samples, for WebDataset and other loaders that read on and on."""
    from changeling.datasets.dataset import Dataset
    from changeling.datasets.importers.webdataset import to_webdataset
    from changeling.progress import bars

    with bars() as progress:
        to_webdataset(Dataset(dataset), output, progress=progress)
    typer.echo(f"{output}: written", err=True)


def audit(
    dataset: DatasetArgument,
    output: Annotated[Path | None, typer.Option(help="Write every finding to this CSV file.")] = None,
) -> None:
    """Check a dataset: missing, changed or broken files, pictures in two splits, and gaps in its tables.

    The exit code is 1 if there is an error; warnings do not change it.
    """
    from rich.console import Console

    from changeling.datasets.audit.audit import audit_dataset
    from changeling.datasets.audit.findings import make_table, write_findings
    from changeling.datasets.dataset import Dataset
    from changeling.progress import bars

    with bars() as progress:
        result = audit_dataset(Dataset(dataset), progress=progress)
    if result.findings:
        Console(highlight=False).print(make_table(result))
    if output:
        write_findings(result, output)
    typer.echo(f"{dataset}: {result.summary}", err=True)
    if (dataset / "build").exists() and {"missing", "unreadable", "changed"} & set(result.counts):
        typer.echo(
            "to regenerate an image that was built and restore its file: `changeling build STUDY --only ID`", err=True
        )
    if result.errors:
        raise typer.Exit(1)


def _import_rows(images: Iterator[Sourced], output: Path) -> None:
    from changeling.datasets.importers.folder import import_dataset

    _import(lambda progress: import_dataset(images, output, progress=progress))


def _import(run: Callable[[Progress], Dataset]) -> None:
    """Make a dataset, and say what it has."""
    import numpy as np

    from changeling.detect.output import escape_unprintable
    from changeling.progress import bars

    with bars() as progress:
        dataset = run(progress)
    bad = dataset.column("image_id")[~np.isin(dataset.column("status"), ("ok", "flagged"))]
    flagged = int((dataset.column("status") == "flagged").sum())
    some = ", ".join(map(escape_unprintable, bad[:3])) + (", ..." if len(bad) > 3 else "")
    files = "1 file" if len(bad) == 1 else f"{len(bad):,} files"
    typer.echo(
        f"{dataset.path}: {len(dataset):,} images ({int(dataset.labels.sum()):,} fake) in "
        f"{len(set(dataset.clusters)):,} clusters, {dataset.captions.num_rows:,} captions"
        + (f"; {flagged:,} children were flagged and have no file" if flagged else "")
        + (f"; {files} cannot be read ({some}): see `status` in images.parquet" if len(bad) else ""),
        err=True,
    )
