"""Store features that another program computed, as if `extract` had made them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import format_count, format_examples
from changeling.errors import FeatureError
from changeling.features.captions import make_caption_header
from changeling.features.feature_file import FeatureFile
from changeling.features.parts import (
    CAPTION_PART_SIZE,
    PART_SIZE,
    FeatureHeader,
    FeatureParts,
    caption_parts,
    feature_parts,
)
from changeling.files import explain_full_disk

IMPORTED = "imported"  # as the preprocessing of images, which is not known
_NAME = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)


def import_image_features(dataset: Dataset, file: FeatureFile, name: str, part_size: int = PART_SIZE) -> int:
    """Store the features of images under `name`; return how many images have none in the file.

    Ids are those of images.parquet. Parts that an earlier import of the same file wrote are kept.

    Raises:
        FeatureError: an id is not one of the dataset, none is, `name` is no name of a folder, parts of other features
            exist, or the disk is full.
    """
    _check_name(name)
    rows = _find_rows(file, dataset.column("image_id").tolist(), f"image of {dataset.path}")
    parts = feature_parts(dataset, name, part_size)
    error = ("missing", f"no feature in {file.path.name}")
    headers = [
        FeatureHeader(
            backbone=name,
            weights=file.hash,
            preprocessing=IMPORTED,
            rows=(start, stop),
            images=dataset.hash_rows(part_size)[index],
            errors={row: error for row in range(start, stop) if rows[row] < 0},
        )
        for index, (start, stop) in enumerate(map(parts.row_range, parts.indices))
    ]
    _write_parts(dataset, parts, headers, file, rows)
    return int((rows < 0).sum())


def import_caption_features(dataset: Dataset, file: FeatureFile, name: str, part_size: int = CAPTION_PART_SIZE) -> None:
    """Store the features of all captions under `name`, which is that of the images' features in the same space.

    See `list_caption_ids` for the ids.

    Raises:
        FeatureError: as `import_image_features`; or a caption has no feature in the file.
    """
    _check_name(name)
    ids = list_caption_ids(dataset)
    rows = _find_rows(file, ids, f"caption of {dataset.path} (CLUSTER_ID#CAPTION_INDEX)")
    missing = [ids[row] for row in np.flatnonzero(rows < 0)]
    if missing:
        raise FeatureError(
            f"{file.path} has no feature of {format_count(len(missing), 'caption')} ({format_examples(missing)}); "
            "retrieval needs all of them"
        )
    parts = caption_parts(dataset, name, part_size)
    captions = dataset.captions["caption"].to_pylist()
    headers = [
        make_caption_header(name, file.hash, start, captions[start:stop])
        for start, stop in map(parts.row_range, parts.indices)
    ]
    _write_parts(dataset, parts, headers, file, rows)


def list_caption_ids(dataset: Dataset) -> list[str]:
    """The ids of the captions in the order of captions.parquet: the cluster_id, a # and the caption_index."""
    columns = (dataset.captions[name].to_pylist() for name in ("cluster_id", "caption_index"))
    return [f"{cluster_id}#{index}" for cluster_id, index in zip(*columns, strict=True)]


def _check_name(name: str) -> None:
    """Raise FeatureError unless features can be stored under a name."""
    if not _NAME.fullmatch(name):
        raise FeatureError(
            f"backbone {name!r}: use letters, digits and . _ - : / @ only, and begin with a letter or digit"
        )


def _find_rows(file: FeatureFile, ids: Sequence[str], noun: str) -> NDArray[np.int64]:
    """Return for each id its row in the file, or -1 (N,). Raises FeatureError if the file has an id that is unknown."""
    row_of = {row_id: row for row, row_id in enumerate(file.ids)}
    rows = np.array([row_of.pop(row_id, -1) for row_id in ids], np.int64)
    if row_of:
        raise FeatureError(
            f"{file.path} has {format_count(len(row_of), 'id')} that no {noun} has: {format_examples([*row_of])}"
        )
    return rows


def _write_parts(
    dataset: Dataset,
    parts: FeatureParts,
    headers: Sequence[FeatureHeader],
    file: FeatureFile,
    rows: NDArray[np.int64],
) -> None:
    """Write the parts that do not exist. Raises FeatureError if one exists that has other features."""
    existing = [index for index in parts.indices if parts.exists(index)]
    for index in existing:
        if parts.read_header(index) != headers[index]:
            raise FeatureError(
                f"{parts.path(index)} has other features; choose another backbone name, or move its folder away"
            )
    for index in parts.missing:
        part_rows = rows[slice(*parts.row_range(index))]
        values = file.values[part_rows]
        values[part_rows < 0] = np.nan
        with explain_full_disk(dataset.path, FeatureError):
            parts.write(index, headers[index], values)
