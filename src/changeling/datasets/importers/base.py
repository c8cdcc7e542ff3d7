"""The interface of importers, and what several of them use: finding image files and making rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from changeling.datasets.dataset import Dataset, assign_split
from changeling.datasets.messages import Note, ignore_note
from changeling.datasets.schema import ImageRow, Split
from changeling.errors import DatasetError
from changeling.images.decode import is_image
from changeling.progress import Progress, silent


class Importer(Protocol):
    """A format that datasets are imported from.

    An importer is a dataclass. Its fields, annotated for typer, are the arguments and options of
    `changeling import NAME`, and the first paragraph of its docstring is the help.
    """

    def import_to(self, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> Dataset:
        """Make the dataset `output`; call `note` with what is missing in the source.

        Raises:
            DatasetError: the source is invalid, or `output` is a dataset already.
        """


class ImportedImage(NamedTuple):
    """An image to import.

    Attributes:
        row: its row; the columns that describe its file are empty if that was not read yet.
        captions: the captions of its cluster, or [] if another image of the cluster has them.
    """

    row: ImageRow
    captions: list[str]

    @property
    def is_inspected(self) -> bool:
        """Whether the file was read, so that the row has its hash or an error."""
        return self.row.sha256 is not None or self.row.status != "ok"


class ChildOrigin(NamedTuple):
    """How a child was generated."""

    generator: str = "unknown"
    caption_index: int | None = None
    seed: int | None = None


def collect_captions(images: Iterable[tuple[ImageRow, list[str]]]) -> dict[str, list[str]]:
    """Return the captions of each cluster: the longest list that an image of it brings.

    Raises:
        DatasetError: an image brings a caption that this list lacks.
    """
    images = [(row, captions) for row, captions in images if captions]
    by_cluster: dict[str, list[str]] = {}
    for row, captions in images:
        if len(captions) > len(by_cluster.setdefault(row.cluster_id, captions)):
            by_cluster[row.cluster_id] = captions
    for row, captions in images:
        missing = next((caption for caption in captions if caption not in by_cluster[row.cluster_id]), None)
        if missing is not None:
            raise DatasetError(
                f"image {row.image_id} has the caption {missing!r}, which the captions of another image of cluster "
                f"{row.cluster_id} lack: give one image all captions of the cluster, or make it two clusters"
            )
    return {cluster_id: list(captions) for cluster_id, captions in by_cluster.items()}


def list_image_files(folder: Path) -> list[str]:
    """Return the absolute paths of the image files below `folder`, sorted folder by folder; links are followed.

    Image files are recognised by their suffix; none is opened.

    Raises:
        DatasetError: a folder does not exist or cannot be listed.
    """
    paths: list[str] = []
    visited: set[str] = set()
    for root, folders, names in os.walk(folder.absolute(), onerror=_raise_folder_error, followlinks=True):
        folders.sort()
        real_path = os.path.realpath(root)
        if real_path in visited:  # a link to a folder above, or a second link
            folders.clear()
            continue
        visited.add(real_path)
        paths += [f"{root}{os.sep}{name}" for name in names if is_image(name)]
    return sorted(paths, key=lambda path: path.replace(os.sep, "\0"))


def make_image_row(
    path: str,
    image_id: str,
    source: str,
    *,
    cluster_id: str | None = None,
    split: Split | None = None,
    child: ChildOrigin | None = None,
) -> ImageRow:
    """Make the row of a parent, or of a child if `child` is given.

    Without `cluster_id`, the image is a cluster of its own. Without `split`, it is drawn from the id of the cluster.

    Raises:
        DatasetError: a name is not UTF-8.
    """
    cluster_id = cluster_id or image_id
    generator, caption_index, seed = child or (None, None, None)
    try:
        f"{path}{image_id}{cluster_id}{generator}{source}".encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{path!a}: the name is not UTF-8, which tables need; rename the file") from None
    return ImageRow(
        image_id=image_id,
        cluster_id=cluster_id,
        role="child" if child else "parent",
        path=path,
        split=split or assign_split(cluster_id),
        source=source,
        caption_index=caption_index,
        generator=generator,
        seed=seed,
    )


def _raise_folder_error(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: the folder cannot be read: {error.strerror}")
