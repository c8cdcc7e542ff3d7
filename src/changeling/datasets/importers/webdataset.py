"""WebDataset: tar files of samples, an image and what is known of it. Ours come back as they were."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.base import FIELDS, Carried, exporting, shards
from changeling.datasets.image_files import storing, suffix
from changeling.datasets.importers.folder import import_dataset
from changeling.datasets.importers.huggingface import COLUMNS, from_tables
from changeling.datasets.importers.restore import is_export, restore
from changeling.datasets.importers.tables import Record, Table, reading
from changeling.datasets.importers.tar_files import Sample, samples
from changeling.errors import DatasetError
from changeling.progress import Progress, silent

_NO_IMAGE = "no-image"


def to_webdataset(dataset: Dataset, output: Path, *, progress: Progress = silent) -> None:
    """Write the dataset to the folder `output` as tar files: train-000000.tar and so on.

    A sample is an image: its file and a .json with its row and captions. Loaders shuffle, batch and decode samples,
    and each image has its own role; the images of a cluster stay neighbours where they are in the dataset. Rows whose
    status is not ok go to no-image-000000.tar, so that whoever reads a split finds an image in every sample. A key is
    the image's place in the dataset, whatever characters its id may have. The same dataset gives the same bytes.

    Raises:
        DatasetError: `output` holds something already, or a file is not what its row says. Nothing is left there.
    """
    groups = np.where(dataset.column("status") == "ok", dataset.column("split"), _NO_IMAGE)
    with exporting(dataset, output) as folder:
        for shard in shards(dataset, groups, progress):
            with (
                folder.atomic_write(f"{shard.group}-{shard.number:06d}.tar") as temporary,
                temporary.open("wb") as file,
            ):
                for image in shard.images:
                    _write(file, image)
                file.write(bytes(2 * tarfile.BLOCKSIZE))  # the end


def _write(file: BinaryIO, image: Carried) -> None:
    texts = {"caption": image.caption, "captions": image.captions}
    files = {".json": json.dumps(image.fields | texts, ensure_ascii=False).encode()}
    if image.data is not None:
        files = {suffix(image.data): image.data} | files
    for ending, data in files.items():
        member = tarfile.TarInfo(f"{image.row:09d}{ending}")  # of no time, and nobody's
        member.size = len(data)
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.write(data)
        file.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def import_webdataset(folder: Path, output: Path, *, progress: Progress = silent) -> Dataset:
    """Make the dataset `output` of the tar files in `folder`.

    What `to_webdataset` wrote becomes what it was. Of others, each sample needs an image and, in its .json, `role` or
    `label`, or a .cls of 0 (real) or 1 (fake). The .json is read as a row of `from_huggingface` is; a .txt is the
    image's own caption. Without an `image_id`, the shard's name and the key are it. Shards called after splits, such
    as train-000000.tar, are those splits, where there are several.

    Raises:
        DatasetError: no tar files there, one that is broken or holds what it should not, or what `restore` and
            `from_huggingface` say.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; pass the one that holds the .tar files")
    paths = sorted(folder.absolute().glob("*.tar"))
    if not paths:
        raise DatasetError(f"{folder} has no .tar files; those that are compressed (.tar.gz) are unpacked first")
    if is_export(folder):
        carried = (_carried(path, sample) for path in paths for sample in samples(path))
        return restore(folder, carried, output, progress)
    with storing(output):
        return import_dataset(from_tables(_tables(paths), folder, output), output, progress=progress)


def _carried(path: Path, sample: Sample) -> Carried:
    """What `_write` wrote, but for the captions, which lie in a file of their own."""
    fields = _json(path, sample)
    try:
        return Carried(int(sample.key), {name: fields[name] for name in FIELDS}, sample.image)
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path}, sample {sample.key!r} is not as it was written: {error}") from None


def _tables(paths: list[Path]) -> list[Table]:
    """The splits that others' tar files are of."""
    splits: dict[str, list[Path]] = {}
    for path in paths:
        splits.setdefault(re.sub(r"[-_.]?[0-9]*$", "", path.stem), []).append(path)
    columns = [*COLUMNS, "image"]
    return [
        Table(name, some[0].parent, some[0].parent, columns, ["image"], partial(_records, some), unit="sample")
        for name, some in splits.items()
    ]


def _records(paths: list[Path], _: list[str]) -> Iterator[tuple[str, Record]]:
    for path in paths:
        for sample in samples(path):
            record = _json(path, sample)
            key = f"{path.stem}/{sample.key}"
            role = next((record[name] for name in ("role", "label") if record.get(name) is not None), None)
            if role is None:
                if ".cls" not in sample.texts:
                    ask = "give it `role` (parent or child) in its .json"
                    raise DatasetError(f"{path}, sample {sample.key!r} has no role, label or .cls; {ask}")
                role = _text(sample, ".cls")
            record |= {"role": role, "image_id": record.get("image_id") or key}
            if not record.get("caption"):
                record["caption"] = _text(sample, ".txt")
            yield key, record | {"image": {"bytes": sample.image, "path": None}}


def _json(path: Path, sample: Sample) -> Record:
    with reading(path):
        record = json.loads(sample.texts.get(".json", b"{}"))
        if not isinstance(record, dict):
            raise ValueError(f"the .json of sample {sample.key!r} is not an object")
        return record


def _text(sample: Sample, suffix: str) -> str:
    return sample.texts.get(suffix, b"").decode("utf-8", "replace").strip()
