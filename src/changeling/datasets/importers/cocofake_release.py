"""The files of one generator in COCOFake, matched to the captions of COCO.

A release is laid out as `{train,val}2014/COCO_{train,val}2014_{id:012d}/*.jpg`. How the files in a folder are named is
not documented, so a child is matched to its caption by what its name allows: the last number in the name is a `sentid`
of the photograph; or it counts the captions from 0 or from 1, whichever fits more than half of the folders and more
than the other; or the folder has one file for each caption, in natural order of the names. Otherwise the child has no
caption index: it belongs to its cluster, but is left out of retrieval.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from changeling.datasets.importers.coco import format_shares
from changeling.datasets.importers.coco_annotations import CAPTIONS_PER_IMAGE, Photograph
from changeling.datasets.messages import format_count, format_examples
from changeling.errors import DatasetError
from changeling.images.decode import is_image


@dataclass(frozen=True, slots=True)
class Release:
    """The content of one generator's folder.

    Attributes:
        folder: absolute.
        children: image id -> its files, each with its caption index, or None if that is unknown.
        images_with_folder: the images that have a folder, even an empty one.
        unknown_folders: folders that belong to no image.
        extra_files: number of files of a sixth or seventh caption.
    """

    folder: str
    children: dict[int, list[tuple[int | None, str]]]
    images_with_folder: list[int]
    unknown_folders: list[str]
    extra_files: int


def read_release(folder: Path, photographs: Mapping[int, Photograph]) -> Release:
    """List the children in one generator's folder, and match them to the captions.

    Raises:
        DatasetError: the folder does not have the layout of a release, or cannot be read.
    """
    root = str(folder.absolute())
    image_ids = {folder_name(photograph): image_id for image_id, photograph in photographs.items()}
    names: dict[int, list[str]] = {}
    unknown_folders: list[str] = []
    for image_folder in _list_image_folders(root, folder):
        if image_folder in image_ids:
            names[image_ids[image_folder]] = _list_image_names(f"{root}/{image_folder}")
        else:
            unknown_folders.append(image_folder)
    children, extra_files = _match_captions(names, photographs)
    return Release(root, children, list(names), unknown_folders, extra_files)


def folder_name(photograph: Photograph) -> str:
    """Return the folder of a photograph's children, as in `val2014/COCO_val2014_000000391895`."""
    return f"{photograph.folder}/{photograph.file_name.removesuffix('.jpg')}"


def describe_gaps(release: Release, photographs: Mapping[int, Photograph]) -> Iterator[str]:
    """Yield one line on the number of children, and one on each kind of gap."""
    counts = {image_id: len(children) for image_id, children in release.children.items()}
    yield f"children: {format_shares(photographs, counts, CAPTIONS_PER_IMAGE)}"
    incomplete = [image_id for image_id in release.images_with_folder if counts.get(image_id, 0) < CAPTIONS_PER_IMAGE]
    if incomplete:
        missing = sum(CAPTIONS_PER_IMAGE - counts.get(image_id, 0) for image_id in incomplete)
        captions = format_count(missing, "caption has", "captions have")
        folders = format_count(len(incomplete), "folder")
        yield f"{captions} no child, in {folders} with fewer than five: {format_examples(incomplete)}"
    unmatched = [
        image_id for image_id, children in release.children.items() if any(index is None for index, _ in children)
    ]
    if unmatched:
        folders = format_count(len(unmatched), "folder")
        yield f"the file names do not say the caption in {folders}: {format_examples(unmatched)}"
    if release.unknown_folders:
        folders = format_count(len(release.unknown_folders), "folder belongs", "folders belong")
        yield f"{folders} to no image: {format_examples(release.unknown_folders)}"
    if release.extra_files:
        yield f"{format_count(release.extra_files, 'file')} of a sixth or seventh caption left out"


def _list_image_folders(root: str, folder: Path) -> list[str]:
    """Return the folders of all images, as in `val2014/COCO_val2014_000000391895`. Raises DatasetError."""
    parts = [part for part in ("train2014", "val2014") if (folder / part).is_dir()]
    if not parts:
        raise DatasetError(f"{folder} holds neither train2014/ nor val2014/; pass the folder that does")
    return [f"{part}/{name}" for part in parts for name in _list_names(f"{root}/{part}", folders=True)]


def _list_image_names(folder: str) -> list[str]:
    return [name for name in _list_names(folder, folders=False) if is_image(name)]


def _list_names(folder: str, *, folders: bool) -> list[str]:
    """Return the sorted names of the entries of a folder, or of its folders alone. Raises DatasetError."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not folders or entry.is_dir())
    except OSError as error:
        raise DatasetError(f"{error.filename}: the folder cannot be read: {error.strerror}") from None


def _match_captions(
    names: Mapping[int, list[str]], photographs: Mapping[int, Photograph]
) -> tuple[dict[int, list[tuple[int | None, str]]], int]:
    """Match files to captions: image id -> caption index and name of each child; and the number of extra files."""
    numbers: dict[int, list[int | None]] = {}
    for image_id, files in names.items():
        files.sort(key=_natural_key)
        folder = photographs[image_id].file_name.removesuffix(".jpg")
        numbers[image_id] = [_last_number(file, folder) for file in files]
    first = _find_first_number(numbers, photographs)
    children: dict[int, list[tuple[int | None, str]]] = {}
    extra_files = 0
    for image_id, files in names.items():
        indices = _find_caption_indices(numbers[image_id], photographs[image_id].caption_ids, first)
        matched = [
            (index, file)
            for index, file in zip(indices, files, strict=True)
            if index is None or index < CAPTIONS_PER_IMAGE
        ]
        extra_files += len(files) - len(matched)
        if matched:
            children[image_id] = sorted(matched, key=_caption_order)
    return children, extra_files


def _caption_order(child: tuple[int | None, str]) -> int:
    index, _ = child
    return CAPTIONS_PER_IMAGE if index is None else index


def _find_first_number(
    numbers: Mapping[int, Sequence[int | None]], photographs: Mapping[int, Photograph]
) -> int | None:
    """Return the number of the first caption in file names, 0 or 1; None if neither fits clearly."""
    from_zero, from_one = (
        sum(
            _count_captions(given, len(photographs[image_id].caption_ids), first) for image_id, given in numbers.items()
        )
        for first in (0, 1)
    )
    if from_zero == from_one or 2 * max(from_zero, from_one) <= len(numbers):
        return None
    return 0 if from_zero > from_one else 1


def _count_captions(numbers: Sequence[int | None], captions: int, first: int) -> bool:
    """Whether all numbers can be those of captions that are counted from `first`."""
    return all(number is not None and first <= number < first + captions for number in numbers)


def _find_caption_indices(
    numbers: Sequence[int | None], caption_ids: Sequence[int], first: int | None
) -> Sequence[int | None]:
    """Return the caption index of each file of a folder, by the numbers in the names; None if unknown."""
    if len(set(numbers)) == len(numbers):
        if set(numbers) <= set(caption_ids):
            return [caption_ids.index(number) for number in numbers if number is not None]
        if first is not None and _count_captions(numbers, len(caption_ids), first):
            return [number - first for number in numbers if number is not None]
    if len(numbers) in (CAPTIONS_PER_IMAGE, len(caption_ids)):
        return range(len(numbers))
    return [None] * len(numbers)


def _last_number(file: str, folder: str) -> int | None:
    """Return the last number in a file's name; a number in the name of its folder does not count."""
    found = re.findall("[0-9]+", file.rpartition(".")[0].replace(folder, ""))
    return int(found[-1]) if found else None


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which 2.jpg comes before 10.jpg."""
    parts = re.split("([0-9]+)", name.rpartition(".")[0])
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
