"""Datasets as tar files of samples, for WebDataset and other loaders that read files from start to end."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import ExportedImage
from changeling.datasets.exporters.export_folder import open_export_folder
from changeling.datasets.exporters.shards import split_into_shards
from changeling.datasets.image_files import detect_suffix
from changeling.datasets.messages import Note, ignore_note
from changeling.progress import Progress, silent

_NO_IMAGE = "no-image"
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class WebDatasetExporter:
    """Write tar files of samples, for WebDataset and other loaders that read sequentially.

    The files are called train-000000.tar and so on. A sample is one image: its file, and a .json with its row and
    captions. Images of a cluster stay neighbours if they are in the dataset. Rows whose status is not ok are in
    no-image-000000.tar, so that each sample of a split has an image. The key of a sample is the row number in the
    dataset, because an id may hold any character. The same dataset gives the same bytes.
    """

    def export(
        self,
        dataset: Dataset,
        output: Path,
        *,
        note: Note = ignore_note,  # noqa: ARG002 (there is nothing to note)
        progress: Progress = silent,
    ) -> None:
        """Write the dataset to the folder `output`.

        Raises:
            DatasetError: `output` is not empty, or a file is not the one in its row. Nothing is left in `output`.
        """
        groups = np.where(dataset.column("status") == "ok", dataset.column("split"), _NO_IMAGE)
        with open_export_folder(dataset, output) as folder:
            for shard in split_into_shards(dataset, groups, progress):
                name = f"{shard.group}-{shard.number:06d}.tar"
                with folder.atomic_write(name) as temporary, temporary.open("wb") as file:
                    for image in shard.images:
                        _write_sample(file, image)
                    file.write(_END_OF_ARCHIVE)


def _write_sample(file: BinaryIO, image: ExportedImage) -> None:
    content = image.columns | {"caption": image.caption, "captions": image.captions}
    if image.data is not None:
        _write_member(file, f"{image.row:09d}{detect_suffix(image.data)}", image.data)
    _write_member(file, f"{image.row:09d}.json", json.dumps(content, ensure_ascii=False).encode())


def _write_member(file: BinaryIO, name: str, data: bytes) -> None:
    """Write a file of the archive, without time and owner."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.write(member.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
