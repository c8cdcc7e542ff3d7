"""Write the images and parts of a build, and join the parts to a dataset when all of them are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from changeling.build.draw import DrawnChild
from changeling.build.encoding import EncodedImage, Encoder, write_image
from changeling.build.job import Build
from changeling.build.parts import PARENTS, BuildHeader, hash_parents, image_path, join_parts, to_table
from changeling.build.record import read_record
from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import BuildError, ImageError
from changeling.files import atomic_write, explain_full_disk
from changeling.images.decode import read_file
from changeling.progress import Progress, silent

_ENCODING_THREADS = 4  # of parents; children are encoded while the next part is drawn


def write_parents(build: Build, indices: Sequence[int], progress: Progress = silent) -> None:
    """Encode the parents of these parts, write their files, and write each part after its files.

    A parent that cannot be read becomes a row with a status and an error.

    Raises:
        BuildError: the disk is full.
    """
    parts, encoder = build.parts(PARENTS), Encoder(build.settings)
    with explain_full_disk(build.output, BuildError), ThreadPoolExecutor(_ENCODING_THREADS) as pool:
        for index in indices:
            start, stop = parts.row_range(index)
            rows = build.parents.images.slice(start, stop - start).to_pylist()
            images = list(pool.map(partial(_write_parent, build, encoder), range(start, stop), rows))
            header = BuildHeader(made_of=hash_parents(encoder.record, rows), batch=1, device="")
            parts.write(index, header, to_table(images))
            progress(PARENTS, stop, parts.row_count)


def write_children_part(
    build: Build, name: str, index: int, header: BuildHeader, children: Sequence[DrawnChild]
) -> None:
    """Encode the children of a part, write their files, and then the part.

    Raises:
        BuildError: the disk is full.
    """
    encoder = Encoder(build.settings)
    with explain_full_disk(build.output, BuildError):
        rows = [_write_child(build.output, name, child, encoder) for child in children]
        build.parts(name).write(index, header, to_table(rows))


def join_dataset(build: Build) -> Dataset | None:
    """Write the tables of the dataset, images.parquet last, and return it; None if a part is not written yet.

    Raises:
        BuildError: the disk is full.
    """
    if any(store.missing for store in build.stores):
        return None
    with explain_full_disk(build.output, BuildError):
        with atomic_write(build.output / "generators.json") as temporary:
            records = {name: read_record(build.output, name) for name in build.generators}
            temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        with atomic_write(build.output / "captions.parquet") as temporary:
            pq.write_table(build.parents.captions.replace_schema_metadata(None), temporary)
        join_parts(build.stores, build.output / "images.parquet")
    return Dataset(build.output)


def _write_parent(build: Build, encoder: Encoder, number: int, row: dict[str, Any]) -> ImageRow:
    """Write the file of a parent; return its row."""
    fields = {name: row[name] for name in ("image_id", "cluster_id", "role", "split", "source")}
    try:
        file = read_file(build.parents.dataset.resolve_path(row["path"]), row["sha256"])
        encoded = encoder.encode_parent(file)
    except ImageError as error:
        return ImageRow(**fields, path="", status=error.status, error=str(error))
    return ImageRow(**fields, **_write_encoded(build.output, PARENTS, number, encoded))


def _write_child(output: Path, name: str, drawn: DrawnChild, encoder: Encoder) -> ImageRow:
    """Write the file of a child, if there is an image; return its row."""
    child = drawn.child
    fields: dict[str, Any] = {
        "image_id": child.image_id,
        "cluster_id": child.cluster_id,
        "role": "child",
        "split": child.split,
        "source": child.source,
        "caption_index": child.caption_index,
        "generator": name,
    }
    if drawn.image is None:
        return ImageRow(**fields, path="", status=drawn.status, error=drawn.error)
    try:
        encoded = encoder.encode_child(drawn.image, child.parent.file)
    except ImageError as error:
        return ImageRow(**fields, path="", status=error.status, error=f"its parent: {error}")
    return ImageRow(**fields, **_write_encoded(output, name, child.number, encoded), seed=drawn.seed)


def _write_encoded(output: Path, name: str, number: int, encoded: EncodedImage) -> dict[str, Any]:
    """Write an image file; return the fields of its row that describe the file."""
    path = image_path(name, number, encoded.suffix)
    sha256 = write_image(output / path, encoded.data)
    return {
        "path": path,
        "width": encoded.width,
        "height": encoded.height,
        "format": encoded.format,
        "sha256": sha256,
    }
