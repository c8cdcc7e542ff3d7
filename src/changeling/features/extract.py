"""Run a backbone over a dataset, part by part; what exists is whole, and what is missing is made again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from changeling import engine
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.engine import Load
from changeling.errors import FeatureError, ImageError
from changeling.features.store import Header, images_hash, part_path, part_rows, read_header, store_name, write_part
from changeling.files import explain_full_disk
from changeling.images.augmentations import Augmentation
from changeling.images.decode import read_file
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

BATCH = 8


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
    view: Augmentation | None = None,
    progress: Progress = silent,
) -> Summary:
    """Write the features of every image of `dataset`; parts that exist are kept.

    The work can be killed at any moment and started again: the bytes are those of an undisturbed run.
    With a `view`, features are of the images so changed, and kept apart from those of the images as they are.

    Raises:
        FeatureError: parts exist that other weights, preprocessing or images made, or not one image can be read: then
            no part is left.
    """
    name = store_name(backbone.name, view.name if view else "")
    summary = Summary(0, 0, Counter())
    encoded = found = 0
    for index, (start, stop) in enumerate(part_rows(len(dataset))):
        path = part_path(dataset, name, index)
        if path.exists():
            header = _same(read_header(path), _header(dataset, backbone, view, start, stop), str(path))
            found += stop - start
        else:
            header = make_part(dataset, backbone, index, loader(dataset, backbone.preprocessing, view), view, progress)
            encoded += stop - start - len(header.errors)
        summary.failed.update(status for status, _ in header.errors.values())
        progress(name, stop, len(dataset))
    if summary.failed.total() == len(dataset):
        for index, _ in enumerate(part_rows(len(dataset))):
            part_path(dataset, name, index).unlink(missing_ok=True)
        failed = ", ".join(f"{count} {status}" for status, count in sorted(summary.failed.items()))
        raise FeatureError(f"{dataset.path}: not one image can be read ({failed}); images.parquet says where they are")
    return Summary(encoded, found, summary.failed)


def loader(dataset: Dataset, preprocessing: Preprocessing, view: Augmentation | None = None) -> Load[int]:
    """What reads the image of a row and prepares it: a row's number -> pixels (3, H, W). It may raise ImageError."""

    def load(row: int) -> NDArray[np.float32]:
        columns = ("path", "status", "image_id", "sha256")
        path, status, image_id, sha256 = (dataset.images[name][row].as_py() for name in columns)
        if status == "flagged":
            raise ImageError("flagged", "the safety checker flagged it")
        image = preprocessing.decode(read_file(dataset.resolve_path(path), sha256)).image
        return preprocessing(view.apply(image, image_id) if view else image)

    return load


def make_part(
    dataset: Dataset,
    backbone: Backbone,
    index: int,
    load: Load[int],
    view: Augmentation | None = None,
    progress: Progress = silent,
) -> Header:
    """Encode the images of one part, as `load` reads them, and write it. What cannot be read has no feature."""
    name = store_name(backbone.name, view.name if view else "")
    start, stop = part_rows(len(dataset))[index]
    values = np.full((stop - start, backbone.dim), np.nan, dtype=np.float32)
    errors: dict[int, tuple[str, str]] = {}
    for done in engine.encode(range(start, stop), load, backbone, batch_size=BATCH):
        if done.feature is None:
            errors[done.job] = (done.status, done.error or "")
        else:
            values[done.job - start] = done.feature
        progress(name, done.job + 1, len(dataset))
    header = _header(dataset, backbone, view, start, stop).model_copy(update={"errors": errors})
    with explain_full_disk(dataset.path, FeatureError):
        write_part(part_path(dataset, name, index), header, values)
    return header


def _header(dataset: Dataset, backbone: Backbone, view: Augmentation | None, start: int, stop: int) -> Header:
    return Header(
        backbone=backbone.name,
        view=view.name if view else "",
        weights=backbone.weights,
        preprocessing=backbone.preprocessing.hash,
        rows=(start, stop),
        images=images_hash(dataset, start, stop),
    )


def _same(found: Header, wanted: Header, path: str) -> Header:
    """Check that a part which exists is the one that would be made."""
    for field in ("weights", "preprocessing", "rows", "images"):
        if getattr(found, field) != getattr(wanted, field):
            raise FeatureError(
                f"{path} was made with other {field} ({getattr(found, field)}, now {getattr(wanted, field)}); "
                "move its folder away to extract again"
            )
    return found
