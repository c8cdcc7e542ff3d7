"""Where datasets come from: folders, CSV lists and COCO caption files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

from changeling.clusters.manifest import (
    SPLITS,
    CaptionRow,
    Dataset,
    ImageRow,
    Role,
    assign_split,
    write_dataset,
)
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import SUFFIXES, inspect_image
from changeling.progress import Progress, silent

CAPTIONS = 5  # of a COCO image that has more, the first five count
_ROLES: dict[str, Role] = {"real": "parent", "fake": "child"}

Sourced = tuple[ImageRow, list[str]]  # an image, and the captions of its cluster if it brings them


def import_dataset(
    images: Iterator[Sourced], output: Path, *, progress: Progress = silent, workers: int = 4
) -> Dataset:
    """Look at every file once, and write the dataset `output`; files are referred to, not copied.

    A file that cannot be read becomes a row with its status and error.

    Raises:
        DatasetError: nothing to import, or `output` is a dataset already.
    """
    if (output / "images.parquet").exists():
        raise DatasetError(f"{output} is a dataset already; choose another --output or remove it")
    sourced = list(images)
    captions: dict[str, list[str]] = {}
    for row, texts in sourced:
        if texts:
            captions.setdefault(row.cluster_id, texts)
    rows: list[ImageRow] = []
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(_inspect, (row for row, _ in sourced)):
            rows.append(row)
            progress("importing", len(rows), len(sourced))
    spoken = [
        CaptionRow(cluster, index, text.encode("utf-8", "replace").decode())
        for cluster, texts in captions.items()
        for index, text in enumerate(texts)
    ]
    return write_dataset(output, rows, spoken)


def from_folder(folder: Path) -> Iterator[Sourced]:
    """Yield the images below `real/` and `fake/`; the first folder below `fake/`, if any, names the generator.

    Each image is a cluster of its own: to say which belong together, pass a CSV file.

    Raises:
        DatasetError: no images there.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder or CSV file")
    found = False
    for name, role in _ROLES.items():
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.is_dir():
                inside = path.relative_to(folder / name)
                generator = inside.parts[0] if len(inside.parts) > 1 else "unknown"
                found = True
                yield _row(path, f"{name}/{inside}", role, generator, source=folder.name), []
    if not found:
        raise DatasetError(f"{folder} has no images below real/ or fake/; name them so, or pass a CSV file")


def from_csv(path: Path) -> Iterator[Sourced]:
    """Yield the rows of a CSV file with the columns `file` and `role` (parent or child).

    Also read, where they exist: `generator`, `group` (images of one group are one cluster), `captions` (a JSON
    list), `split`, and `source` (else the file's folder). `file` is relative to the CSV file.

    Raises:
        DatasetError: a column or value is missing or wrong; the message gives the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"file", "role"} - set(reader.fieldnames or ())
            if missing:
                raise DatasetError(f"{path}: no column {', '.join(sorted(missing))}")
            for record in reader:
                yield _from_record(path, record, f"{path}:{reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV file: {error}") from None


def from_coco(annotations: Path, images: Path) -> Iterator[Sourced]:
    """Yield the photographs below `images` that a COCO caption file describes, with their first five captions.

    A file belongs to the image whose id is the number that its name ends in, as in `000000000139.jpg` and
    `COCO_val2014_000000000139.jpg`.

    Raises:
        DatasetError: not a COCO caption file, or none of its images is there.
    """
    captions: dict[int, list[str]] = {}
    try:
        content = json.loads(annotations.read_bytes())
        for note in content["annotations"]:
            captions.setdefault(int(note["image_id"]), []).append(" ".join(note["caption"].split()))
        known = {int(image["id"]) for image in content["images"]}
    except OSError as error:
        raise DatasetError(f"{annotations} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{annotations} is not a COCO caption file: {error!r}") from None
    found = False
    for path in sorted(images.rglob("*")):
        number = re.search(r"(\d+)$", path.stem)
        if path.suffix.lower() in SUFFIXES and number and int(number[1]) in known:
            found = True
            image_id = int(number[1])
            row = _row(path, str(image_id), "parent", None, source="coco", cluster=f"coco_{image_id}")
            yield row, captions.get(image_id, [])[:CAPTIONS]
    if not found:
        raise DatasetError(f"{images} holds none of the {len(known)} images of {annotations}")


def _from_record(path: Path, record: dict[str, str], where: str) -> Sourced:
    role = record["role"]
    if not record["file"]:
        raise DatasetError(f"{where}: no file is named")
    if role not in _ROLES.values():
        raise DatasetError(f"{where}: role is {role!r}, not parent or child")
    split = record.get("split") or None
    if split is not None and split not in SPLITS:
        raise DatasetError(f"{where}: split is {split!r}, not one of {', '.join(SPLITS)}")
    try:
        captions = json.loads(record.get("captions") or "[]")
    except ValueError:
        captions = None
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise DatasetError(f"{where}: captions are not a JSON list of strings")
    file = path.parent / record["file"]
    row = _row(
        file,
        record["file"],
        cast(Role, role),
        record.get("generator") or "unknown",
        source=record.get("source") or file.parent.name,
        cluster=record.get("group") or None,
    )
    row = replace(row, split=split) if split else row
    return (replace(row, caption_index=0) if role == "child" and captions else row), captions


def _row(
    path: Path, image_id: str, role: Role, generator: str | None, *, source: str, cluster: str | None = None
) -> ImageRow:
    cluster_id = cluster or image_id
    try:
        f"{path} {image_id}".encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{str(path)!a}: the name is not UTF-8, which tables need; rename the file") from None
    return ImageRow(
        image_id=image_id,
        cluster_id=cluster_id,
        role=role,
        path=str(path.absolute()),
        split=assign_split(cluster_id),
        source=source,
        generator=generator if role == "child" else None,
    )


def _inspect(row: ImageRow) -> ImageRow:
    try:
        facts = inspect_image(row.path)
    except ImageError as error:
        return replace(row, status=error.status, error=str(error))
    return replace(row, width=facts.width, height=facts.height, format=facts.format, sha256=facts.sha256)
