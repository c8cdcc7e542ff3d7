"""WebDataset: tar files of samples, an image each with what is known about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import EXPORTED_COLUMNS, ExportedImage, is_export
from changeling.datasets.image_files import remove_images_on_failure
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.datasets.importers.restore import restore_export
from changeling.datasets.importers.table_images import COLUMNS, read_images
from changeling.datasets.importers.tables import Record, Table
from changeling.datasets.importers.tar_files import Sample, read_samples
from changeling.datasets.messages import Note, ignore_note
from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import DatasetError
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class WebDatasetImporter:
    """Import tar files of samples. What `export webdataset` wrote is restored as it was.

    In other tar files each sample needs an image and, in its .json, `role` or `label`, or a .cls of 0 (real) or 1
    (fake). The .json is read like a record of a Hugging Face dataset; a .txt is the image's own caption. Without an
    `image_id`, the id is made of the names of the shard and the sample. If several shards are called after splits, such
    as train-000000.tar, they are these splits.
    """

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of .tar files.")]

    def import_to(
        self,
        output: Path,
        *,
        note: Note = ignore_note,  # noqa: ARG002 (there is nothing to note)
        progress: Progress = silent,
    ) -> Dataset:
        """Make the dataset `output`.

        Raises:
            DatasetError: there are no tar files, one is invalid, or see `restore_export` and `read_huggingface`.
        """
        if not self.folder.is_dir():
            raise DatasetError(f"{self.folder}: no such folder; pass the one that holds the .tar files")
        paths = sorted(self.folder.absolute().glob("*.tar"))
        if not paths:
            raise DatasetError(f"{self.folder} has no .tar files; decompress .tar.gz files first")
        if is_export(self.folder):
            exported_images = (_parse_export(path, sample) for path in paths for sample in read_samples(path))
            return restore_export(self.folder, exported_images, output, progress)
        with remove_images_on_failure(output):
            images = read_images(_open_tables(paths), self.folder, output)
            return import_dataset(images, output, progress=progress)


def _parse_export(path: Path, sample: Sample) -> ExportedImage:
    """Return the image of an export, without captions, which are in a file of their own."""
    content = _parse_json(path, sample)
    try:
        return ExportedImage(int(sample.key), {name: content[name] for name in EXPORTED_COLUMNS}, sample.image)
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path}, sample {sample.key!r} was changed after the export: {error}") from None


def _open_tables(paths: list[Path]) -> list[Table]:
    """Group the tar files into a table for each split."""
    paths_by_split: dict[str, list[Path]] = {}
    for path in paths:
        split = re.sub(r"[-_.]?[0-9]*$", "", path.stem)
        paths_by_split.setdefault(split, []).append(path)
    columns = [*COLUMNS, "image"]
    folder = paths[0].parent
    return [
        Table(split, folder, folder, columns, ["image"], partial(_read_records, shards), unit="sample")
        for split, shards in paths_by_split.items()
    ]


def _read_records(paths: list[Path], _: Sequence[str]) -> Iterator[tuple[str, Record]]:
    for path in paths:
        for sample in read_samples(path):
            key = f"{path.stem}/{sample.key}"
            record = _parse_json(path, sample)
            record["role"] = _find_role(path, sample, record)
            record["image_id"] = record.get("image_id") or key
            record["caption"] = record.get("caption") or _decode_text(sample, ".txt")
            record["image"] = {"bytes": sample.image, "path": None}
            yield key, record


def _find_role(path: Path, sample: Sample, record: Record) -> object:
    """Return the role, as it is written in the .json or in the .cls. Raises DatasetError if there is none."""
    for column in ("role", "label"):
        if record.get(column) is not None:
            return record[column]
    if ".cls" not in sample.texts:
        advice = "add `role` (parent or child) to its .json"
        raise DatasetError(f"{path}, sample {sample.key!r} has no role, label or .cls; {advice}")
    return _decode_text(sample, ".cls")


def _parse_json(path: Path, sample: Sample) -> Record:
    with convert_read_errors(path):
        record = json.loads(sample.texts.get(".json", b"{}"))
        if not isinstance(record, dict):
            raise ValueError(f"the .json of sample {sample.key!r} is not an object")
        return record


def _decode_text(sample: Sample, suffix: str) -> str:
    return sample.texts.get(suffix, b"").decode("utf-8", "replace").strip()
