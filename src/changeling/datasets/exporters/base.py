"""The interface of exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.progress import Progress, silent


class Exporter(Protocol):
    """A format in which a dataset is written for others.

    An exporter is a dataclass. Its fields, annotated for typer, are the options of `changeling export NAME`, and the
    first line of its docstring is the help.
    """

    def export(self, dataset: Dataset, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> None:
        """Write the dataset to the folder `output`; call `note` with what the user has to do next.

        Raises:
            DatasetError: the dataset cannot be written. Nothing is left in `output`.
        """
