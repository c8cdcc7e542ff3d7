"""Images in folders: real/ and fake/GENERATOR/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.base import ChildOrigin, ImportedImage, list_image_files, make_image_row
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.errors import DatasetError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class FolderImporter:
    """Import images below real/ and fake/ (fake/GENERATOR/), or those that a CSV file lists."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with real/ and fake/, or a CSV file.")]

    def import_to(
        self,
        output: Path,
        *,
        note: Note = ignore_note,  # noqa: ARG002 (there is nothing to note)
        progress: Progress = silent,
    ) -> Dataset:
        """Make the dataset `output`. Raises DatasetError: see `read_folder` and `read_csv`."""
        images = read_csv(self.folder) if self.folder.is_file() else read_folder(self.folder)
        return import_dataset(images, output, progress=progress)


def read_folder(folder: Path) -> Iterator[ImportedImage]:
    """Yield the images below `real/` and `fake/`; the first folder below `fake/`, if any, names the generator.

    Each image is a cluster of its own; a CSV file can put several images into one cluster.

    Raises:
        DatasetError: there are no images.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder or CSV file")
    has_images = False
    for name in ("real", "fake"):
        top = folder / name
        for path in list_image_files(top) if top.is_dir() else ():
            has_images = True
            relative = path.removeprefix(f"{top.absolute()}{os.sep}")
            first, separator, _ = relative.partition(os.sep)
            child = ChildOrigin(first if separator else "unknown") if name == "fake" else None
            yield ImportedImage(make_image_row(path, f"{name}/{relative}", folder.name, child=child), [])
    if not has_images:
        raise DatasetError(f"{folder} has no images below real/ or fake/; use these names, or pass a CSV file")
