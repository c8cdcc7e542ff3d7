"""The folder of an export while it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import CAPTIONS, GENERATORS, MANIFEST, Manifest
from changeling.errors import DatasetError
from changeling.files import atomic_write


class ExportFolder:
    """The folder of an export. It remembers its files, so that a failed export can be removed.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []

    def atomic_write(self, name: str) -> AbstractContextManager[Path]:
        """Write a file of the export: see `files.atomic_write`."""
        self._names.append(name)
        return atomic_write(self.path / name)

    def remove_files(self) -> None:
        """Remove all written files, and the folders that are empty then."""
        for name in self._names:
            (self.path / name).unlink(missing_ok=True)
        folders = [(self.path / name).parent for name in self._names]
        for folder in (*folders, self.path):
            with suppress(OSError):  # it is not empty, or does not exist
                folder.rmdir()


@contextmanager
def open_export_folder(dataset: Dataset, output: Path) -> Iterator[ExportFolder]:
    """Write shards in the block; captions, generators.json and, last, the manifest are written at its end.

    If the block fails, what was written is removed.

    Raises:
        DatasetError: `output` exists and is not an empty folder.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} exists already; choose another output folder")
    folder = ExportFolder(output)
    try:
        yield folder
        if len(dataset.captions):
            with folder.atomic_write(CAPTIONS) as temporary:
                pq.write_table(dataset.captions, temporary)
        if (dataset.path / GENERATORS).exists():
            with folder.atomic_write(GENERATORS) as temporary:
                shutil.copyfile(dataset.path / GENERATORS, temporary)
        with folder.atomic_write(MANIFEST) as temporary:
            temporary.write_text(Manifest(format=1, images=len(dataset)).model_dump_json(), encoding="utf-8")
    except BaseException:
        folder.remove_files()
        raise
