"""The folders that published benchmarks come in: for each generator, a folder of real and a folder of fake images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.base import ChildOrigin, ImportedImage, list_image_files, make_image_row
from changeling.datasets.importers.folder_conventions import CONVENTIONS, Convention, FolderConvention
from changeling.datasets.importers.identical_files import join_identical_files
from changeling.datasets.importers.import_dataset import check_no_dataset, inspect_images
from changeling.datasets.messages import Note, format_count, ignore_note
from changeling.errors import DatasetError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class BenchmarkImporter:
    """Import the folders of a published benchmark: 0_real and 1_fake, or nature and ai, for each generator.

    Each image is a cluster of its own, but copies of a file are one cluster, and none is in two splits. Pictures that
    are nearly the same are found by `changeling audit`.
    """

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the unpacked benchmark.")]
    convention: Annotated[
        Convention, typer.Option(help="What the folders mean: the benchmark whose convention they follow.")
    ]

    def import_to(self, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> Dataset:
        """Make the dataset `output`; call `note` with the images that were left out.

        Raises:
            DatasetError: see `read_benchmark`, or `output` is a dataset already.
        """
        check_no_dataset(output)
        images = list(read_benchmark(self.folder, CONVENTIONS[self.convention], note))
        rows = inspect_images(images, {}, output, progress)
        return write_dataset(output, join_identical_files(rows, note))


def read_benchmark(folder: Path, convention: FolderConvention, note: Note = ignore_note) -> Iterator[ImportedImage]:
    """Yield the images in folders that a benchmark calls real or fake; `note` is called with how many others there are.

    Raises:
        DatasetError: there is no such folder, or it has no images in folders of these names.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; pass the one that the benchmark was unpacked to")
    found, ignored = 0, 0
    for path in list_image_files(folder):
        image = _read_image(path, folder.absolute(), convention)
        if image is None:
            ignored += 1
            continue
        found += 1
        yield image
    if not found:
        raise DatasetError(
            f"{folder} has no images in folders called {convention.real} or {convention.fake}; pass the folder above "
            "them, or name another convention"
        )
    if ignored:
        note(f"{folder}: {format_count(ignored, 'image')} outside of {convention.real} and {convention.fake} left out")


def _read_image(path: str, folder: Path, convention: FolderConvention) -> ImportedImage | None:
    """Return the image at a path below `folder`; None if no folder says whether it is real or fake."""
    relative = PurePath(path).relative_to(folder)
    names = [name.casefold() for name in relative.parts[:-1]]
    index = next((index for index, name in enumerate(names) if name in convention.labels), None)
    if index is None:
        return None
    above = relative.parts[:index]  # a folder of the generator, of a split, or of a class
    split_names = [name for name in (*names[:index], folder.name.casefold()) if name in convention.splits]
    split = convention.splits[split_names[0]] if split_names else convention.split
    not_generators = {*convention.splits, *convention.ignored_folders}
    candidates = (*above, folder.name, folder.parent.name)  # the folder may be that of a split itself
    subset = next((name for name in candidates if name.casefold() not in not_generators), folder.name)
    if split in convention.class_folders and subset.casefold() not in convention.class_exceptions:
        subset = convention.class_folders[split]
    child = ChildOrigin(subset) if names[index] == convention.fake else None
    return ImportedImage(make_image_row(path, relative.as_posix(), subset, split=split, child=child), [])
