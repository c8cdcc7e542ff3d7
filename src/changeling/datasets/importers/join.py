"""The importer that joins datasets: clusters of the same parent become one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.export_format import GENERATORS
from changeling.datasets.importers.import_dataset import check_no_dataset
from changeling.datasets.importers.joined_clusters import JoinedClusters
from changeling.datasets.messages import Note, format_examples, ignore_note
from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import DatasetError
from changeling.files import atomic_write
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class JoinImporter:
    """Join datasets into one: clusters with the same parent become one, with the children of all.

    Images are referenced, not copied. Features have to be extracted again.
    """

    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET", help="The datasets, at least two.")]

    def import_to(self, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> Dataset:
        """Make the dataset `output`. `note` is called with what the datasets share.

        Raises:
            DatasetError: fewer than two datasets; a generator has different records; or see `JoinedClusters.add`.
        """
        check_no_dataset(output)
        if len(self.datasets) < 2:
            raise DatasetError("name at least two datasets to join")
        clusters = JoinedClusters()
        for done, path in enumerate(self.datasets, start=1):
            clusters.add(Dataset(path), note)
            progress("joining", done, len(self.datasets))
        records = _join_records(self.datasets)
        if records:
            with atomic_write(output / GENERATORS) as temporary:
                temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        return write_dataset(output, clusters.images, clusters.captions)


def _join_records(datasets: list[Path]) -> dict[str, Any]:
    """Return the records of all generators. Raises DatasetError if a generator has different ones."""
    records: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    for dataset in datasets:
        for name, record in _read_records(dataset / GENERATORS).items():
            if name in records and records[name] != record:
                raise DatasetError(
                    f"{origins[name]} and {dataset} have different records of the generator {name}: "
                    f"{_describe_change(records[name], record)}; rename it in images.parquet and {GENERATORS} of one"
                )
            records[name] = record
            origins.setdefault(name, dataset)
    return records


def _read_records(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with convert_read_errors(path):
        records = json.loads(path.read_bytes())
    if not isinstance(records, dict):
        raise DatasetError(f"{path} is not a JSON object")
    return records


def _describe_change(first: Any, second: Any) -> str:
    """Name the settings that two records of a generator differ in."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return "one is not a JSON object"
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return f"they differ in {format_examples(names)}"
