"""Import, build and export datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.huggingface import HuggingFaceExporter
from changeling.datasets.importers.coco import CocoImporter
from changeling.datasets.importers.folder import FolderImporter
from changeling.datasets.messages import Note, ignore_note
from changeling.errors import BuildError
from changeling.files import StrPath
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.studies.settings import Study


def import_folder(source: StrPath, output: StrPath, *, progress: Progress = silent) -> Dataset:
    """Make the dataset `output` from the images below `source`/real and `source`/fake, or from a CSV file.

    Images below `fake/GENERATOR/` are by that generator. Nothing is copied: the dataset refers to the files.

    Raises:
        DatasetError: there are no images, the CSV file is invalid, or `output` is a dataset already.
    """
    return FolderImporter(Path(source)).import_to(Path(output), progress=progress)


def import_coco(
    annotations: StrPath, images: StrPath, output: StrPath, *, note: Note = ignore_note, progress: Progress = silent
) -> Dataset:
    """Make the dataset `output` from a COCO caption file and the folder of its photographs.

    With Karpathy's `dataset_coco.json`, the splits are his; otherwise they are drawn. Each photograph is a parent with
    its first five captions. `note` is called with the number of photographs found.

    Raises:
        DatasetError: the caption file is invalid, no photograph is found, or `output` is a dataset already.
    """
    return CocoImporter(Path(annotations), Path(images)).import_to(Path(output), note=note, progress=progress)


def export_huggingface(
    dataset: Dataset, output: StrPath, *, licence: str = "other", progress: Progress = silent
) -> None:
    """Write a dataset to the folder `output`, as Parquet files that contain the images, with a dataset card.

    `licence` is an identifier of the Hugging Face Hub, such as "cc-by-4.0".

    Raises:
        DatasetError: `output` is not empty, a file is missing or has changed, or the licence is not a valid identifier.
    """
    HuggingFaceExporter(licence).export(dataset, Path(output), progress=progress)


def build_dataset(
    study: Study, folder: StrPath = ".", *, note: Note = ignore_note, progress: Progress = silent
) -> Dataset:
    """Make the children of captioned parents, as `[build]` and `[generators]` of a study say, and return the dataset.

    A build that was interrupted is continued. Paths in the study are relative to `folder`.

    Raises:
        StudyError: the study names no dataset to build, no parents or no generators.
        DatasetError: the parents are not a dataset.
        BuildError: a generator cannot be loaded, or the build cannot start or go on. Finished parts stay.
    """
    from changeling.build.runner import run_build

    dataset = run_build(study.to_build(Path(folder)), progress=progress, note=note)
    if dataset is None:
        raise BuildError(f"{study.dataset}: parts were removed while it was built; build it again")
    return dataset
