"""A dataset's tables against its files: what is missing, changed, broken, repeated or left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling.datasets.audit.findings import KINDS, Audit, Finding, Kind
from changeling.datasets.dataset import Dataset
from changeling.engine import decoders
from changeling.errors import ImageError
from changeling.images.decode import ImageInfo, decode_image, inspect_image, read_file, read_image
from changeling.images.perceptual_hash import (
    PerceptualHashes,
    find_similar_pairs,
    is_same_picture,
    perceptual_hash,
    to_greys,
)
from changeling.progress import Progress, silent

_AT_ONCE = 1024  # rows that wait to be looked at
_ENOUGH = 128  # pixels of the short side: so small a JPEG may be decoded, and at 64 prints would differ more
_FLAT = 4  # levels that one colour may range over
_COLUMNS = ("image_id", "path", "width", "height", "format", "sha256", "status", "error")


def audit(dataset: Dataset, *, progress: Progress = silent) -> Audit:
    """Look at every file once, and at the tables. Of a picture 17 bytes are kept.

    A picture is known again if it was scaled or saved again, not if it was cropped, turned or mirrored. Images of one
    cluster may be alike.
    """
    findings, prints, seen = _files(dataset, progress)
    changed = {finding.name for finding in findings if finding.kind == "changed"}
    findings += _pictures(dataset, prints, seen, changed)
    findings += [*_clusters(dataset), *_children(dataset), *_captions(dataset), *_strays(dataset)]
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    return Audit(len(dataset), len(set(dataset.clusters.tolist())), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at one row's file gave."""

    finding: Finding | None
    prints: PerceptualHashes | None = None


def _files(dataset: Dataset, progress: Progress) -> tuple[list[Finding], PerceptualHashes, NDArray[np.bool_]]:
    """Findings of single files; the print of each picture that is more than one colour (N, 2), and which have one."""
    prints, seen = np.zeros((len(dataset), 2), np.uint64), np.zeros(len(dataset), dtype=np.bool_)
    findings: list[Finding] = []
    row = 0
    with ThreadPoolExecutor(decoders()) as pool:
        for batch in dataset.images.select(_COLUMNS).to_batches(_AT_ONCE):
            for look in pool.map(lambda record: _look(dataset, record), batch.to_pylist()):
                if look.finding:
                    findings.append(look.finding)
                if look.prints is not None:
                    prints[row], seen[row] = look.prints, True
                row += 1
                progress("auditing", row, len(dataset))
    return findings, prints, seen


def _look(dataset: Dataset, record: dict[str, Any]) -> _Look:
    """Look at one row's file; of several faults the gravest is told."""

    def found(kind: Kind, detail: str, prints: PerceptualHashes | None = None) -> _Look:
        return _Look(Finding.of(kind, record["image_id"], detail), prints)

    if record["status"] != "ok":
        kind: Kind = "flagged" if record["status"] == "flagged" else "failed"
        return found(kind, f"{record['status']}: {record['error'] or 'no word why'}")
    path = dataset.resolve_path(record["path"])
    try:
        file = read_file(path)
        info = inspect_image(file)
        image = decode_image(file, short_side=_ENOUGH).image
        flat = _flat(image) and _flat(decode_image(file).image)  # what is fine enough is flat in the small
    except ImageError as error:
        return found("missing" if error.status == "missing" else "unreadable", f"{record['path']}: {error}")
    prints = None if flat else perceptual_hash(to_greys(image))
    if record["sha256"] not in (None, file.sha256):
        return found("changed", f"{record['path']}: its SHA-256 is another", prints)
    if differing := _mismatch(record, info):
        return found("mismatch", differing, prints)
    if flat:
        return found("flat", f"#{bytes(np.asarray(image)[0, 0]).hex()} all over")
    return _Look(None, prints)


def _flat(image: Image.Image) -> bool:
    return all(np.ptp(band.getextrema()) <= _FLAT for band in image.split())


def _mismatch(record: dict[str, Any], info: ImageInfo) -> str:
    wrong = [
        f"{name} is {getattr(info, name)}, not {record[name]}"
        for name in ("format", "width", "height")
        if record[name] not in (None, getattr(info, name))
    ]
    return "; ".join(wrong)


def _pictures(
    dataset: Dataset, prints: PerceptualHashes, seen: NDArray[np.bool_], changed: set[str]
) -> Iterator[Finding]:
    """Pictures that two clusters share: each but the first, with the first."""
    rows = np.flatnonzero(seen)
    ids, clusters, splits = dataset.column("image_id"), dataset.clusters, dataset.column("split")
    first = np.arange(len(dataset))  # of the pictures that are the same

    def root(row: int) -> int:
        while first[row] != row:
            row = first[row] = int(first[first[row]])
        return row

    hashes = dataset.column("sha256")
    known = rows[[hashes[row] is not None and ids[row] not in changed for row in rows]]
    _, earliest, inverse = np.unique(hashes[known].astype(str), return_index=True, return_inverse=True)
    first[known] = known[earliest[inverse]]  # the same bytes
    for one, other in find_similar_pairs(prints[rows]):
        left, right = root(int(rows[one])), root(int(rows[other]))
        told = left == right or clusters[rows[one]] == clusters[rows[other]]
        if not told and _same(dataset, int(rows[one]), int(rows[other])):
            first[max(left, right)] = min(left, right)
    for row in rows.tolist():
        origin = root(row)
        if clusters[row] != clusters[origin]:
            kind: Kind = "duplicate" if splits[row] == splits[origin] else "leak"
            yield Finding.of(kind, ids[row], f"in {splits[row]}, as {ids[origin]} in {splits[origin]}")


def _same(dataset: Dataset, *rows: int) -> bool:
    """Whether two files show the same picture."""
    paths = [dataset.resolve_path(dataset.images["path"][row].as_py()) for row in rows]
    try:
        return is_same_picture(*(to_greys(read_image(path, short_side=_ENOUGH).image) for path in paths))
    except ImageError:  # gone since
        return False


def _clusters(dataset: Dataset) -> Iterator[Finding]:
    """Clusters of children alone; where no cluster has both, as in a folder of single images, none is wanted."""
    children, parents = (np.bincount(dataset.clusters, dataset.labels == label) > 0 for label in (1, 0))
    if not (children & parents).any():
        return
    _, rows = np.unique(dataset.clusters, return_index=True)
    for row in rows[children & ~parents]:
        yield Finding.of(
            "no parent", dataset.column("cluster_id")[row], f"its first is {dataset.column('image_id')[row]}"
        )


def _children(dataset: Dataset) -> Iterator[Finding]:
    """Children whose caption is not there; a generator none of whose children has one draws from something else."""
    names, place = np.unique(dataset.column("cluster_id"), return_inverse=True)
    index = dataset.column("caption_index").astype(np.float64)  # NaN where there is none
    spoken = dataset.captions["cluster_id"].to_numpy(zero_copy_only=False)
    said = dataset.captions["caption_index"].to_numpy(zero_copy_only=False).astype(np.float64)
    at = np.minimum(np.searchsorted(names, spoken), len(names) - 1)
    there = np.stack([at, said], axis=1)[names[at] == spoken].view(np.complex128)  # pairs, as one number each
    asked = np.stack([place.astype(np.float64), index], axis=1).view(np.complex128)
    lost = ~np.isin(asked, there).reshape(-1)
    generators = dataset.column("generator")
    captioned = set(generators[~np.isnan(index)])
    for row in np.flatnonzero((dataset.labels == 1) & lost):
        name, cluster = dataset.column("image_id")[row], dataset.column("cluster_id")[row]
        if not np.isnan(index[row]):
            yield Finding.of("no caption", name, f"caption {index[row]:.0f} of {cluster} is not there")
        elif generators[row] in captioned:
            yield Finding.of("no caption", name, "which caption it was made from is not said")


def _captions(dataset: Dataset) -> Iterator[Finding]:
    """Captions that an earlier cluster has, too, but for capitals and full stops."""
    texts = (text for batch in dataset.captions["caption"].chunks for text in batch.to_pylist())
    hashes = np.fromiter((hash(" ".join(text.casefold().rstrip(". ").split())) for text in texts), np.int64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    clusters = dataset.captions["cluster_id"].to_numpy(zero_copy_only=False)
    origins = clusters[first[inverse]]
    splits = dict(zip(dataset.column("cluster_id"), dataset.column("split"), strict=True))
    for row in np.flatnonzero(clusters != origins).tolist():
        text = dataset.captions["caption"][row].as_py()
        where = f"{origins[row]} in {splits.get(origins[row], 'no split')}"
        yield Finding.of("repeated caption", clusters[row], f"{text!r}, as {where}")


def _strays(dataset: Dataset) -> Iterator[Finding]:
    """Files in images/ that no row names, and temporary files anywhere in the folder."""
    top = os.path.abspath(dataset.path)  # noqa: PTH100 (links stay as they are)
    images = os.path.join(top, "images", "")  # noqa: PTH118
    paths = (path for batch in dataset.images["path"].chunks for path in batch.to_pylist())
    named = np.fromiter((hash(os.path.normpath(os.path.join(top, path))) for path in paths), np.int64)  # noqa: PTH118
    named.sort()
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118
            inside = path.removeprefix(f"{top}{os.sep}")
            if name.startswith(".") and name.endswith(".tmp"):
                yield Finding.of("leftover", inside, "remove it, if nothing is running")
            elif path.startswith(images) and not name.startswith("."):
                place = np.searchsorted(named, hash(path))
                if place == len(named) or named[place] != hash(path):
                    yield Finding.of("orphan", inside, "no row names it")
