"""Run a backbone over a dataset, part by part; what exists is whole, and what is missing is made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling import engine
from changeling.backbones.registry import Backbone
from changeling.clusters.manifest import Dataset
from changeling.errors import FeatureError
from changeling.features.store import Header, images_hash, part_path, part_rows, read_header, store_name, write_part
from changeling.progress import Progress, silent

BATCH = 8


@dataclass(frozen=True, slots=True)
class View:
    """A change to an image before its preprocessing, drawn by image id. Another way of drawing is another name."""

    name: str
    draw: Callable[[Image.Image, str], Image.Image]


@dataclass(frozen=True, slots=True)
class Summary:
    """What an extraction did: images encoded now, found done already, and unreadable ones by status."""

    encoded: int
    found: int
    failed: Counter[str]


def extract(
    dataset: Dataset,
    backbone: Backbone,
    *,
    view: View | None = None,
    progress: Progress = silent,
) -> Summary:
    """Write the features of every image of `dataset`; parts that exist are kept.

    The work can be killed at any moment and started again: the bytes are those of an undisturbed run.
    With a `view`, features are of the images so changed, and kept apart from those of the images as they are.

    Raises:
        FeatureError: parts exist that other weights, preprocessing or images made.
    """
    name = store_name(backbone.name, view.name if view else "")
    summary = Summary(0, 0, Counter())
    encoded = found = 0
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        path = part_path(dataset, name, index)
        header = Header(
            backbone=backbone.name,
            view=view.name if view else "",
            weights=backbone.weights,
            preprocessing=backbone.preprocessing.hash,
            rows=(start, stop),
            images=images_hash(dataset, start, stop),
        )
        if path.exists():
            header = _same(read_header(path), header, str(path))
            found += stop - start
        else:
            values, errors = _encode_rows(dataset, backbone, view, start, stop, name, progress)
            header = header.model_copy(update={"errors": errors})
            write_part(path, header, values)
            encoded += stop - start
        summary.failed.update(status for status, _ in header.errors.values())
        progress(name, stop, len(dataset))
    return Summary(encoded, found, summary.failed)


def _encode_rows(
    dataset: Dataset,
    backbone: Backbone,
    view: View | None,
    start: int,
    stop: int,
    name: str,
    progress: Progress,
) -> tuple[NDArray[np.float32], dict[int, tuple[str, str]]]:
    paths, ids = dataset.column("path"), dataset.column("image_id")

    def load(row: int) -> NDArray[np.float32]:
        image = backbone.preprocessing.read(str(dataset.file(paths[row]))).image
        return backbone.preprocessing(view.draw(image, ids[row]) if view else image)

    values = np.full((stop - start, backbone.dim), np.nan, dtype=np.float32)
    errors: dict[int, tuple[str, str]] = {}
    for done in engine.encode(range(start, stop), load, backbone, batch_size=BATCH):
        if done.feature is None:
            errors[done.job] = (done.status, done.error or "")
        else:
            values[done.job - start] = done.feature
        progress(name, done.job + 1, len(dataset))
    return values, errors


def _same(found: Header, wanted: Header, path: str) -> Header:
    """Check that a part which exists is the one that would be made."""
    for field in ("weights", "preprocessing", "rows", "images"):
        if getattr(found, field) != getattr(wanted, field):
            raise FeatureError(
                f"{path} was made with other {field} ({getattr(found, field)}, now {getattr(wanted, field)}); "
                "move its folder away to extract again"
            )
    return found
