"""The image files of a dataset against its rows: what is missing, changed, broken or of a single colour."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling.datasets.audit.findings import Finding, Kind
from changeling.datasets.audit.thumbnails import ThumbnailFile
from changeling.datasets.dataset import Dataset
from changeling.engine import count_decoding_threads
from changeling.errors import ImageError
from changeling.images.decode import ImageInfo, decode_image, inspect_image, read_file
from changeling.images.perceptual_hash import PerceptualHashes, perceptual_hash, to_greys
from changeling.progress import Progress

_BATCH = 1024  # rows that wait to be checked
_SHORT_SIDE = (
    128  # pixels to which a large JPEG may be decoded; at 64, the hashes of a resized picture would differ more
)
_FLAT_RANGE = 4  # levels that each channel of a single colour may range over
_COLUMNS = ("image_id", "path", "width", "height", "format", "sha256", "status", "error")


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of reading the file of one row.

    Attributes:
        finding: the most serious problem, or None.
        greys: the thumbnail of the picture; None if it cannot be decoded or is a single colour.
        is_as_recorded: whether the file has the SHA-256 of its row.
    """

    finding: Finding | None
    greys: NDArray[np.float32] | None = None
    is_as_recorded: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a dataset that can be compared: decoded, and not of a single colour.

    Attributes:
        rows: their rows in images.parquet (M,), ascending.
        hashes: their perceptual hashes (M, 2).
        is_as_recorded: whether the file has the SHA-256 of its row (M,).
        thumbnails: of all of them, in this order.
    """

    rows: NDArray[np.int64]
    hashes: PerceptualHashes
    is_as_recorded: NDArray[np.bool_]
    thumbnails: ThumbnailFile


def check_files(dataset: Dataset, thumbnails: ThumbnailFile, progress: Progress) -> tuple[list[Finding], Pictures]:
    """Read and decode every file once; write its thumbnail to `thumbnails`, and keep 17 bytes of it in memory."""
    findings: list[Finding] = []
    rows = np.empty(len(dataset), np.int64)
    hashes = np.empty((len(dataset), 2), np.uint64)
    is_as_recorded = np.empty(len(dataset), np.bool_)
    count = 0
    for row, check in enumerate(_check_rows(dataset)):
        if check.finding:
            findings.append(check.finding)
        if check.greys is not None:
            thumbnails.append(check.greys)
            rows[count], hashes[count], is_as_recorded[count] = row, perceptual_hash(check.greys), check.is_as_recorded
            count += 1
        progress("auditing", row + 1, len(dataset))
    return findings, Pictures(rows[:count], hashes[:count], is_as_recorded[:count], thumbnails)


def _check_rows(dataset: Dataset) -> Iterator[FileCheck]:
    with ThreadPoolExecutor(count_decoding_threads()) as pool:
        for batch in dataset.images.select(_COLUMNS).to_batches(_BATCH):
            yield from pool.map(partial(check_file, dataset), batch.to_pylist())


def check_file(dataset: Dataset, row: dict[str, Any]) -> FileCheck:
    """Read the file of one row of images.parquet once, and compare it with the row."""
    if row["status"] != "ok":
        kind: Kind = "flagged" if row["status"] == "flagged" else "failed"
        return FileCheck(
            Finding.printable(kind, row["image_id"], f"{row['status']}: {row['error'] or 'no reason given'}")
        )
    try:
        file = read_file(dataset.resolve_path(row["path"]))
        info = inspect_image(file)
        image = decode_image(file, short_side=_SHORT_SIDE).image
        is_flat = _is_flat(image) and _is_flat(decode_image(file).image)  # a fine pattern may be flat when scaled down
    except ImageError as error:
        kind = "missing" if error.status == "missing" else "unreadable"
        return FileCheck(Finding.printable(kind, row["image_id"], f"{row['path']}: {error}"))
    has_other_hash = row["sha256"] not in (None, file.sha256)
    finding = None
    if has_other_hash:
        finding = Finding.printable("changed", row["image_id"], f"{row['path']}: SHA-256 is not the one in the row")
    elif differences := _describe_differences(row, info):
        finding = Finding.printable("mismatch", row["image_id"], differences)
    elif is_flat:
        colour = bytes(np.asarray(image)[0, 0]).hex()
        finding = Finding.printable("flat", row["image_id"], f"#{colour} everywhere")
    is_as_recorded = row["sha256"] is not None and not has_other_hash
    return FileCheck(finding, None if is_flat else to_greys(image), is_as_recorded)


def _is_flat(image: Image.Image) -> bool:
    return all(np.ptp(band.getextrema()) <= _FLAT_RANGE for band in image.split())


def _describe_differences(row: dict[str, Any], info: ImageInfo) -> str:
    """Say in which of format, width and height the file differs from its row; empty if in none."""
    differences = [
        f"{name} is {getattr(info, name)}, not {row[name]}"
        for name in ("format", "width", "height")
        if row[name] not in (None, getattr(info, name))
    ]
    return "; ".join(differences)
