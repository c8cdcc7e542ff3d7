"""COCOFake: COCO's photographs as parents, and what generators made of their captions as children.

The release (github.com/aimagelab/COCOFake) is one archive, fake_coco.tar.gz, of Stable Diffusion v1.4. Neither its
README nor the paper says how files are named. Public code that reads it agrees on `{train,val}2014/`, in it a folder
for each photograph, called as that is, in it five .jpg files; of their names it uses the sorted order, if anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from changeling.datasets.importers.base import Note, Sourced, image_row, untold
from changeling.datasets.importers.coco import CAPTIONS, Photograph, locate, parent, read_photographs, share
from changeling.errors import DatasetError
from changeling.images.decode import is_image


def from_cocofake(
    karpathy: Path, parents: Path, fakes: Mapping[str, Path], *, note: Note = untold
) -> Iterator[Sourced]:
    """Yield COCOFake's clusters: photographs below `parents`, each generator's children below its folder of `fakes`.

    A folder of fakes is laid out as the release is: `{train,val}2014/COCO_{train,val}2014_{id:012d}/*.jpg`. How the
    files in it are named is documented nowhere, so a child gets its caption by what its name allows: the last number
    in it is a `sentid` of its image; or it counts the captions, from 0 or from 1, if that fits most folders and the
    other fewer; or there is a file for each caption, in the natural order of the names. A child to which none of these
    applies has no caption index: it counts in its cluster, but not in retrieval.

    Clusters without the photograph, and those without a child, are left out. `note` is told how much of each split is
    there and every kind of gap.

    Raises:
        DatasetError: not Karpathy's file, or not as it should be (see `from_coco`); a folder that is not laid
            out so; no cluster with a photograph and a child.
    """
    photographs = read_photographs(karpathy)
    if any(photograph.split is None for photograph in photographs.values()):
        raise DatasetError(f"{karpathy} has no splits; pass Karpathy's dataset_coco.json")
    found = locate(parents, photographs)
    note(f"photographs: {share(photographs, dict.fromkeys(found, 1))}")
    releases = {generator: read_release(folder, photographs) for generator, folder in fakes.items()}
    for generator, release in releases.items():
        for line in gaps(release, photographs):
            note(f"{generator}: {line}")
    made = set().union(*(release.children for release in releases.values()))
    both = [number for number in photographs if number in made and number in found]
    if not both:
        raise DatasetError(f"no image of {karpathy} has both a photograph below {parents} and fakes")
    for number in both:
        photograph = photographs[number]
        yield parent(number, photograph, found[number], "cocofake")
        for generator, release in releases.items():
            for index, name in release.children.get(number, ()):
                row = image_row(
                    f"{release.folder}/{photograph.name}/{name}",
                    f"{generator}/{number}/{name if index is None else index}",
                    "child",
                    generator,
                    source="cocofake",
                    cluster=f"coco_{number}",
                    split=photograph.split,
                    caption_index=index,
                )
                yield row, []
    if lonely := len(made) - len(both):
        note(f"left out, without a photograph: {_many(lonely, 'cluster', 'clusters')} of fakes")
    if lonely := len(found) - len(both):
        note(f"left out, without a fake: {_many(lonely, 'photograph', 'photographs')}")


@dataclass(frozen=True, slots=True)
class Release:
    """What one generator's folder holds.

    Attributes:
        folder: absolute.
        children: image id -> its files, each with the index of its caption, None where the name does not tell.
        present: the images that have a folder, if an empty one.
        strange: folders that belong to no image.
        beyond: how many files belong to a sixth or seventh caption.
    """

    folder: str
    children: dict[int, list[tuple[int | None, str]]]
    present: list[int]
    strange: list[str]
    beyond: int


def read_release(folder: Path, photographs: Mapping[int, Photograph]) -> Release:
    """List the children below one generator's folder, and match them to the captions (see `from_cocofake`).

    Raises:
        DatasetError: the folder is not laid out as the release is, or cannot be read.
    """
    root = str(folder.absolute())
    parts = [part for part in ("train2014", "val2014") if (folder / part).is_dir()]
    if not parts:
        raise DatasetError(f"{folder} holds neither train2014/ nor val2014/; pass the folder that does")
    known = {photograph.name: number for number, photograph in photographs.items()}
    names: dict[int, list[str]] = {}
    strange: list[str] = []
    try:
        for part in parts:
            with os.scandir(f"{root}/{part}") as entries:
                inside = sorted(entry.name for entry in entries if entry.is_dir())
            for name in (f"{part}/{name}" for name in inside):
                if name not in known:
                    strange.append(name)
                    continue
                with os.scandir(f"{root}/{name}") as entries:
                    names[known[name]] = [entry.name for entry in entries if is_image(entry.name)]
    except OSError as error:
        raise DatasetError(f"{error.filename}: the folder cannot be read: {error.strerror}") from None
    return _match(root, names, strange, photographs)


def _match(
    root: str, names: Mapping[int, list[str]], strange: list[str], photographs: Mapping[int, Photograph]
) -> Release:
    """Give each file its caption."""
    numbers: dict[int, list[int | None]] = {}
    for image, files in names.items():
        files.sort(key=_natural)
        numbers[image] = [_last_number(file, photographs[image].name.rpartition("/")[2]) for file in files]
    first = _first(numbers, photographs)
    children: dict[int, list[tuple[int | None, str]]] = {}
    beyond = 0
    for image, files in names.items():
        indices = _indices(numbers[image], photographs[image].sentids, first)
        kept = [(index, file) for index, file in zip(indices, files, strict=True) if index is None or index < CAPTIONS]
        beyond += len(files) - len(kept)
        if kept:
            children[image] = sorted(kept, key=lambda child: CAPTIONS if child[0] is None else child[0])
    return Release(root, children, list(names), strange, beyond)


def _first(numbers: Mapping[int, Sequence[int | None]], photographs: Mapping[int, Photograph]) -> int | None:
    """From what the names count the captions: 0 or 1; None if neither fits most folders, or both as many."""
    zero, one = (
        sum(_counts(given, photographs[image].sentids, first) for image, given in numbers.items()) for first in (0, 1)
    )
    return int(one > zero) if zero != one and 2 * max(zero, one) > len(numbers) else None


def _counts(given: Sequence[int | None], sentids: Sequence[int], first: int) -> bool:
    return all(number is not None and first <= number < first + len(sentids) for number in given)


def _indices(given: Sequence[int | None], sentids: Sequence[int], first: int | None) -> Sequence[int | None]:
    """Tell the caption of each file of a folder by the numbers in their names; None for what they do not tell."""
    if len(set(given)) == len(given):
        if set(given) <= set(sentids):
            return [sentids.index(number) for number in given if number is not None]
        if first is not None and _counts(given, sentids, first):
            return [number - first for number in given if number is not None]
    return range(len(given)) if len(given) in (CAPTIONS, len(sentids)) else [None] * len(given)


def _last_number(file: str, folder: str) -> int | None:
    """The last number in a file's name, the folder's name set aside."""
    found = re.findall("[0-9]+", file.rpartition(".")[0].replace(folder, ""))
    return int(found[-1]) if found else None


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which 2.jpg comes before 10.jpg."""
    parts = re.split("([0-9]+)", name.rpartition(".")[0])
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def gaps(release: Release, photographs: Mapping[int, Photograph]) -> Iterator[str]:
    """Say what a release holds and what it lacks, a line each."""
    counts = {image: len(children) for image, children in release.children.items()}
    yield f"children: {share(photographs, counts, CAPTIONS)}"
    short = [image for image in release.present if counts.get(image, 0) < CAPTIONS]
    if short:
        lost = sum(CAPTIONS - counts.get(image, 0) for image in short)
        few = _many(len(short), "folder", "folders")
        yield f"{_many(lost, 'caption has', 'captions have')} no child, in {few} with fewer than five: {_some(short)}"
    unknown = [image for image, of in release.children.items() if any(index is None for index, _ in of)]
    if unknown:
        few = _many(len(unknown), "folder", "folders")
        yield f"the names of files do not tell the caption in {few}: {_some(unknown)}"
    if release.strange:
        few = _many(len(release.strange), "folder belongs", "folders belong")
        yield f"{few} to no image: {_some(release.strange)}"
    if release.beyond:
        yield f"{_many(release.beyond, 'file', 'files')} of a sixth or seventh caption left out"


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:3])) + (", ..." if len(items) > 3 else "")
