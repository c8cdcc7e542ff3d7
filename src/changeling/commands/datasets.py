"""Datasets: import, export, audit. The formats are the tables of importers and exporters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from changeling.commands.formats import LazyFormatGroup, make_command
from changeling.commands.shared import DatasetArgument, print_note
from changeling.files import check_output_file, check_output_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from changeling.datasets.dataset import Dataset
    from changeling.datasets.exporters.base import Exporter
    from changeling.datasets.importers.base import Importer

DatasetOutput = Annotated[Path, typer.Option(help="The dataset folder to make.")]
SplitOption = Annotated[
    str,
    typer.Option(
        metavar="SHARES",
        help="Draw a new split for each cluster, with these shares of train, val and test, such as 0.8/0.1/0.1.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="The seed with which --split draws.")]
ExportOutput = Annotated[Path, typer.Option(help="The folder to write.")]


class ImportGroup(LazyFormatGroup):
    """`changeling import`: a subcommand for each importer."""

    def formats(self) -> Mapping[str, type[Importer]]:
        """The table of importers."""
        from changeling.datasets.importers.registry import IMPORTERS

        return IMPORTERS

    def make_format_command(self, name: str) -> Any:
        """Make the command that imports one format."""
        importer_type = self.formats()[name]

        def run(output: DatasetOutput, split: SplitOption = "", seed: SeedOption = 0, **arguments: object) -> None:
            run_import(importer_type(**arguments), output, split, seed)

        return make_command(name, importer_type, run)


class ExportGroup(LazyFormatGroup):
    """`changeling export`: a subcommand for each exporter."""

    def formats(self) -> Mapping[str, type[Exporter]]:
        """The table of exporters."""
        from changeling.datasets.exporters.registry import EXPORTERS

        return EXPORTERS

    def make_format_command(self, name: str) -> Any:
        """Make the command that exports to one format."""
        exporter_type = self.formats()[name]

        def run(dataset: DatasetArgument, output: ExportOutput, **options: object) -> None:
            run_export(exporter_type(**options), dataset, output)

        return make_command(name, exporter_type, run)


imports = typer.Typer(help="Make a dataset from images, or add features to one.", no_args_is_help=True, cls=ImportGroup)
exports = typer.Typer(help="Write a dataset for others, images and all.", no_args_is_help=True, cls=ExportGroup)


def run_import(importer: Importer, output: Path, split: str = "", seed: int = 0) -> None:
    """Make a dataset, draw new splits if `split` gives their shares, and print a summary."""
    from changeling.datasets.splits import describe_small_splits, parse_shares, redraw_splits
    from changeling.progress import progress_bars

    shares = parse_shares(split) if split else None
    check_output_folder(output)
    with progress_bars() as progress:
        dataset = importer.import_to(output, note=print_note, progress=progress)
    if shares:
        dataset = redraw_splits(dataset, shares, seed)
    typer.echo(f"{dataset.path}: {describe_dataset(dataset)}", err=True)
    for line in describe_small_splits(dataset):
        print_note(f"{dataset.path}: {line}")


def run_export(exporter: Exporter, dataset: Path, output: Path) -> None:
    """Write a dataset to a folder."""
    from changeling.datasets.dataset import Dataset
    from changeling.progress import progress_bars

    with progress_bars() as progress:
        exporter.export(Dataset(dataset), output, note=print_note, progress=progress)
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
    from changeling.progress import progress_bars

    if output:
        check_output_file(output)
    with progress_bars() as progress:
        result = audit_dataset(Dataset(dataset), progress=progress)
    if result.findings:
        Console(highlight=False).print(make_table(result))
    if output:
        write_findings(result, output)
    typer.echo(f"{dataset}: {result.summary}", err=True)
    if (dataset / "build").exists() and {"missing", "unreadable", "changed"} & set(result.counts):
        print_note("to regenerate a built image and restore its file, run `changeling build redraw STUDY ID`")
    if (dataset / "build").exists() and "orphan" in result.counts:
        print_note("images of a generator that `changeling build` has not finished are orphans until it has")
    if result.errors:
        raise typer.Exit(1)


def describe_dataset(dataset: Dataset) -> str:
    """Return the numbers of images, clusters and captions of a dataset, and its unreadable files, in one line."""
    import numpy as np

    from changeling.datasets.messages import format_count, format_examples
    from changeling.detect.output import escape_unprintable

    status = dataset.column("status")
    flagged = int((status == "flagged").sum())
    unreadable = dataset.column("image_id")[~np.isin(status, ("ok", "flagged"))]
    parts = [
        f"{len(dataset):,} images ({int(dataset.labels.sum()):,} fake) in {len(set(dataset.clusters)):,} clusters, "
        f"{dataset.captions.num_rows:,} captions"
    ]
    if flagged:
        parts.append(f"{flagged:,} children were flagged and have no file")
    if len(unreadable):
        files, examples = format_count(len(unreadable), "file"), format_examples([*map(escape_unprintable, unreadable)])
        parts.append(f"{files} cannot be read ({examples}): see `status` in images.parquet")
    return "; ".join(parts)
