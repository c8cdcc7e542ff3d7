"""Hugging Face datasets on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import EXPORTED_COLUMNS, ExportedImage, is_export
from changeling.datasets.image_files import remove_images_on_failure
from changeling.datasets.importers.arrow_tables import open_parquet_files, open_saved_dataset
from changeling.datasets.importers.base import ImportedImage
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.importers.metadata_files import METADATA_FORMATS, open_metadata_files
from changeling.datasets.importers.restore import restore_export
from changeling.datasets.importers.table_images import read_images
from changeling.datasets.importers.tables import SPLIT_NAMES, Table
from changeling.datasets.messages import Note, ignore_note
from changeling.errors import DatasetError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class HuggingFaceImporter:
    """Import a Hugging Face dataset on disk. What `export huggingface` wrote is restored as it was."""

    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `save_to_disk` wrote, parquet files, or images with metadata.")
    ]

    def import_to(
        self,
        output: Path,
        *,
        note: Note = ignore_note,  # noqa: ARG002 (there is nothing to note)
        progress: Progress = silent,
    ) -> Dataset:
        """Make the dataset `output`. Raises DatasetError: see `restore_export` and `read_huggingface`."""
        if is_export(self.folder):
            return restore_export(self.folder, _read_export(self.folder), output, progress)
        with remove_images_on_failure(output):
            return import_dataset(read_huggingface(self.folder, output), output, progress=progress)


def read_huggingface(folder: Path, output: Path) -> Iterator[ImportedImage]:
    """Yield the images of a Hugging Face dataset in `folder`.

    The folder holds what `save_to_disk` wrote, downloaded parquet files, or images with a `metadata.csv`, `.jsonl` or
    `.parquet` (whose column `file_name` is the image), there or in a folder for each split. Images inside tables are
    written, with the same bytes, to `output`/images/; images that are files stay where they are.

    Required columns are `image` (or the only column of images) and `role` or `label`: parent, real or 0; child, fake
    or 1; as a value or as the name of a class. Images with the same `cluster_id` (or `group`) are a cluster.
    `captions` are those of the cluster, `caption` is the image's own and `caption_index` its index among them. Also
    read are `generator`, `seed`, `source` and `image_id`. The split is the one in the column `split`, or else, if the
    dataset has several splits, the dataset's. Otherwise it is drawn.

    Raises:
        DatasetError: there is no such dataset, a column is missing, or a value is invalid; the message names the row.
    """
    yield from read_images(_open_tables(folder), folder, output)


def _open_tables(folder: Path) -> list[Table]:
    """Open the tables of a dataset in any of the supported forms. Raises DatasetError."""
    folder = folder.absolute()
    if folder.is_file():
        raise DatasetError(f"{folder} is a file; pass its folder")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; download a dataset of the Hub first (hf download)")
    tables = open_saved_dataset(folder) or open_metadata_files(folder) or open_parquet_files(folder)
    if not tables:
        raise DatasetError(
            f"{folder} is not a Hugging Face dataset: it has no state.json or dataset_dict.json (as save_to_disk "
            f"writes), no {', '.join(METADATA_FORMATS)}, and no parquet files in it or in data/"
        )
    return tables


def _read_export(folder: Path) -> Iterator[ExportedImage]:
    """Yield the images of an export, without captions, which are in a file of their own."""
    for table in _open_tables(folder):
        split = SPLIT_NAMES.get(table.name)
        columns = [name for name in (*EXPORTED_COLUMNS, "row") if name != "split"]
        missing = set(columns) - set(table.columns) or {"image"} - set(table.image_columns)
        if not split or missing:
            problem = f"has no column {', '.join(sorted(missing))}" if split else "is not the name of a split"
            raise DatasetError(f"{folder}: {table.name or 'a file'} {problem}; export the dataset again")
        for _, record in table.read_records([*columns, "image"]):
            image = record["image"]
            row = {name: record.get(name, split) for name in EXPORTED_COLUMNS}
            yield ExportedImage(record["row"], row, image["bytes"] if image else None)
