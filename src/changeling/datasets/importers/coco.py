"""COCO: its photographs as parents, with their captions and, from Karpathy's file, their splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.base import ImportedImage, list_image_files, make_image_row
from changeling.datasets.importers.coco_annotations import Photograph, read_photographs
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.messages import Note, format_examples, ignore_note
from changeling.datasets.schema import SPLITS, Split
from changeling.errors import DatasetError
from changeling.progress import Progress, silent

_PARTS = ("train2014", "val2014", "test2014")
_FLATTENED_FOLDER = re.compile("^(?:train|val|test)20(?:14|17)__")  # of collections without folders
_COCO_NAME = re.compile(rf"(?:COCO_({'|'.join(_PARTS)})_)?([0-9]{{12}})\.jpg")


@dataclass(frozen=True, slots=True)
class CocoImporter:
    """Import captioned photographs as parents. With Karpathy's dataset_coco.json, the splits are his."""

    annotations: Annotated[Path, typer.Argument(help="A COCO caption file, such as captions_val2017.json.")]
    images: Annotated[Path, typer.Argument(help="The folder of its photographs.")]

    def import_to(self, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> Dataset:
        """Make the dataset `output`. Raises DatasetError: see `read_coco`."""
        return import_dataset(read_coco(self.annotations, self.images, note=note), output, progress=progress)


def read_coco(annotations: Path, images: Path, *, note: Note = ignore_note) -> Iterator[ImportedImage]:
    """Yield the photographs below `images` that a COCO caption file describes, with their first five captions.

    Files are found by their names, see `file_names_of`. If `annotations` is Karpathy's `dataset_coco.json`, the splits
    are his. `note` is called with the number of photographs found.

    Raises:
        DatasetError: see `read_photographs`; or no image is found, or one is found twice.
    """
    photographs = read_photographs(annotations, note)
    paths = find_photographs(images, photographs)
    if not paths:
        raise DatasetError(f"{images} holds none of the {len(photographs)} images of {annotations}")
    for image_id, path in paths.items():
        yield make_parent(image_id, photographs[image_id], path, "coco")
    note(f"photographs: {format_shares(photographs, dict.fromkeys(paths, 1))}{_format_gaps(photographs, paths)}")


def _format_gaps(photographs: Mapping[int, Photograph], paths: Mapping[int, str]) -> str:
    """Name some photographs that are missing among many others, and some of those found that have no caption."""
    missing = [
        photograph.file_name or image_id for image_id, photograph in photographs.items() if image_id not in paths
    ]
    without_caption = [image_id for image_id in paths if not photographs[image_id].captions]
    not_found = f"; not found: {format_examples(missing)}" if 0 < len(missing) < len(paths) else ""
    return not_found + (f"; without a caption: {format_examples(without_caption)}" if without_caption else "")


def find_photographs(images: Path, photographs: Mapping[int, Photograph]) -> dict[int, str]:
    """Find the files of photographs below `images` by their names: image id -> path, sorted by path.

    Raises:
        DatasetError: there is no such folder, or an image is found twice.
    """
    ids = {
        name: image_id for image_id, photograph in photographs.items() for name in file_names_of(image_id, photograph)
    }
    paths: dict[int, str] = {}
    for path in list_image_files(images):
        image_id = ids.get(_FLATTENED_FOLDER.sub("", Path(path).name))
        if image_id is None:
            continue
        if image_id in paths:
            raise DatasetError(f"{path} and {paths[image_id]} are both image {image_id}; keep one of them")
        paths[image_id] = path
    return paths


def file_names_of(image_id: int, photograph: Photograph) -> Iterable[str]:
    """Return the names that the file of a photograph may have.

    These are `000000000139.jpg`, its name in the releases since 2017, and `COCO_val2014_000000000139.jpg`, its name in
    those of 2014 (or with train2014 or test2014, if the caption file does not say which). Where a caption file gives
    another name than COCO's, only that name counts. Before the name, a file may have its folder, as in
    `val2017__000000000139.jpg`.
    """
    match = _COCO_NAME.fullmatch(photograph.file_name or f"{image_id:012d}.jpg")
    if match is None or int(match[2]) != image_id:
        return [photograph.file_name]
    parts = [match[1]] if match[1] else _PARTS
    return [f"{image_id:012d}.jpg", *(f"COCO_{part}_{image_id:012d}.jpg" for part in parts)]


def make_parent(image_id: int, photograph: Photograph, path: str, source: str) -> ImportedImage:
    """Make the row of a photograph."""
    row = make_image_row(path, str(image_id), source, cluster_id=f"coco_{image_id}", split=photograph.split)
    return ImportedImage(row, photograph.captions)


def format_shares(photographs: Mapping[int, Photograph], found: Mapping[int, int], per_image: int = 1) -> str:
    """Return how many files were found by split, such as "val 3 of 5,000"; `found` has the number of each image."""
    found_by_split: Counter[Split | None] = Counter()
    for image_id, count in found.items():
        found_by_split[photographs[image_id].split] += count
    images_by_split = Counter(photograph.split for photograph in photographs.values())
    splits: list[Split | None] = [split for split in (*SPLITS, None) if split in images_by_split]
    shares = [
        f"{split or ''} {found_by_split[split]:,} of {per_image * images_by_split[split]:,}".strip() for split in splits
    ]
    return ", ".join(shares)
