"""COCOFake: COCO's photographs as parents, and the children that generators made from their captions.

The release (github.com/aimagelab/COCOFake) is one archive, fake_coco.tar.gz, of Stable Diffusion v1.4. Neither its
README nor the paper says how files are named. Public code that reads it agrees on `{train,val}2014/`, in it a folder
for each photograph with the same name, and in that five .jpg files; it uses at most the sorted order of their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.importers.base import ChildOrigin, ImportedImage, make_image_row
from changeling.datasets.importers.coco import find_photographs, format_shares, make_parent
from changeling.datasets.importers.coco_annotations import Photograph, read_photographs
from changeling.datasets.importers.cocofake_release import Release, describe_gaps, folder_name, read_release
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.messages import Note, format_count, ignore_note
from changeling.errors import DatasetError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class CocoFakeImporter:
    """Import COCOFake: photographs, their captions, and each generator's children."""

    karpathy: Annotated[Path, typer.Argument(help="Karpathy's dataset_coco.json.")]
    parents: Annotated[Path, typer.Argument(help="The folder of COCO's photographs.")]
    fakes: Annotated[
        list[str],
        typer.Option(metavar="GENERATOR=DIR", help="A generator and the folder of its release; may be repeated."),
    ]

    def import_to(self, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> Dataset:
        """Make the dataset `output`. Raises DatasetError: see `read_cocofake`."""
        images = read_cocofake(self.karpathy, self.parents, parse_folders(self.fakes), note=note)
        return import_dataset(images, output, progress=progress)


def parse_folders(options: list[str]) -> dict[str, Path]:
    """Parse options GENERATOR=DIR: generator -> folder. Raises DatasetError."""
    folders: dict[str, Path] = {}
    for option in options:
        generator, separator, folder = option.partition("=")
        if not (generator and separator and folder):
            raise DatasetError(f"--fakes {option}: write GENERATOR=DIR, such as stable-diffusion-v1.4=cocofake-v1/")
        if generator in folders:
            raise DatasetError(f"--fakes {option}: {generator} is named twice")
        folders[generator] = Path(folder)
    return folders


def read_cocofake(
    karpathy: Path, parents: Path, fakes: Mapping[str, Path], *, note: Note = ignore_note
) -> Iterator[ImportedImage]:
    """Yield COCOFake's clusters: photographs below `parents`, each generator's children below its folder of `fakes`.

    How children are matched to captions is documented in `cocofake_release`. Clusters without the photograph, and
    those without a child, are left out. `note` is called with the number of images of each split and with every kind
    of gap.

    Raises:
        DatasetError: it is not Karpathy's file, or see `read_photographs`; a folder does not have the layout of a
            release; or no cluster has a photograph and a child.
    """
    photographs = read_photographs(karpathy)
    if any(photograph.split is None for photograph in photographs.values()):
        raise DatasetError(f"{karpathy} has no splits; pass Karpathy's dataset_coco.json")
    paths = find_photographs(parents, photographs)
    note(f"photographs: {format_shares(photographs, dict.fromkeys(paths, 1))}")
    releases = {generator: read_release(folder, photographs) for generator, folder in fakes.items()}
    for generator, release in releases.items():
        for line in describe_gaps(release, photographs):
            note(f"{generator}: {line}")
    with_children = set().union(*(release.children for release in releases.values()))
    complete = [image_id for image_id in photographs if image_id in with_children and image_id in paths]
    if not complete:
        raise DatasetError(f"no image of {karpathy} has both a photograph below {parents} and fakes")
    for image_id in complete:
        photograph = photographs[image_id]
        yield make_parent(image_id, photograph, paths[image_id], "cocofake")
        for generator, release in releases.items():
            yield from _make_children(image_id, photograph, generator, release)
    if count := len(with_children) - len(complete):
        note(f"left out, without a photograph: {format_count(count, 'cluster')} of fakes")
    if count := len(paths) - len(complete):
        note(f"left out, without a fake: {format_count(count, 'photograph')}")


def _make_children(image_id: int, photograph: Photograph, generator: str, release: Release) -> Iterator[ImportedImage]:
    for caption_index, name in release.children.get(image_id, ()):
        row = make_image_row(
            f"{release.folder}/{folder_name(photograph)}/{name}",
            f"{generator}/{image_id}/{name if caption_index is None else caption_index}",
            "cocofake",
            cluster_id=f"coco_{image_id}",
            split=photograph.split,
            child=ChildOrigin(generator, caption_index),
        )
        yield ImportedImage(row, [])
