"""Make children part by part; what exists is whole, what is missing is made again, and the dataset is written last."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from changeling.build.draw import Drawn, draw_part
from changeling.build.encoding import Encoder, File, save
from changeling.build.job import Build
from changeling.build.parts import PARENTS, BuildHeader, image_path, join_parts, to_table
from changeling.build.record import agree, parents_of, part_of, recorded, same
from changeling.datasets.dataset import Dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import BuildError, ImageError
from changeling.files import atomic_write
from changeling.images.decode import read_file
from changeling.progress import Progress, silent

if TYPE_CHECKING:
    from changeling.generators.base import Generator


def build_parents(build: Build, progress: Progress = silent) -> None:
    """Save the parents by the policy of the build."""
    encoder = Encoder(build.settings)
    parts = build.parts(PARENTS)
    with _keeping(build.output), ThreadPoolExecutor(4) as pool:
        for index in parts.indices:
            start, stop = parts.row_range(index)
            rows = build.parents.images.slice(start, stop - start).to_pylist()
            header = BuildHeader(made_of=parents_of(build, rows), batch=1, device="")
            if not same(parts, index, header.made_of):
                numbered = enumerate(rows, start)
                images = list(pool.map(lambda one: save_parent(build, encoder, *one), numbered))
                parts.write(index, header, to_table(images))
            progress(PARENTS, stop, parts.row_count)


def build_children(
    build: Build, name: str, generator: Generator, mine: Sequence[int], progress: Progress = silent
) -> None:
    """Make those parts of a generator that are `mine` and not there yet; saving runs beside drawing.

    Raises:
        BuildError: parts exist that were made of something else, the model fails, or the disk is full.
    """
    encoder, batch, parts = Encoder(build.settings), build.settings.batch, build.parts(name)
    record = agree(build, name, generator)
    saving: Future[None] | None = None
    with _keeping(build.output), ThreadPoolExecutor(1) as pool:
        for index in mine:
            children = build.children(name, index)
            start, stop = parts.row_range(index)
            header = BuildHeader(made_of=part_of(record, children), batch=batch, device=generator.device)
            if not same(parts, index, header.made_of):
                told = _beside(progress, name, start, parts.row_count)
                drawn, batch = draw_part(generator, children, build.generators[name].redraws, batch, told)
                if saving:
                    saving.result()
                header = header.model_copy(update={"batch": batch})
                saving = pool.submit(save_part, build, name, index, header, drawn, encoder)
            progress(name, stop, parts.row_count)
        if saving:
            saving.result()


def save_part(
    build: Build, name: str, index: int, header: BuildHeader, drawn: Sequence[Drawn], encoder: Encoder
) -> None:
    """Write the image files of a part, then the part."""
    rows = [_child(build.output, name, one, encoder) for one in drawn]
    build.parts(name).write(index, header, to_table(rows))


def join(build: Build) -> Dataset | None:
    """Write the dataset's own files, images.parquet last, if all parts are there."""
    if any(store.missing for store in build.stores):
        return None
    with _keeping(build.output):
        with atomic_write(build.output / "generators.json") as temporary:
            told = {name: recorded(build.output, name) for name in build.generators}
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        with atomic_write(build.output / "captions.parquet") as temporary:
            pq.write_table(build.parents.captions.replace_schema_metadata(None), temporary)
        join_parts(build.stores, build.output / "images.parquet")
    return Dataset(build.output)


def save_parent(build: Build, encoder: Encoder, number: int, row: dict[str, Any]) -> ImageRow:
    """Save a parent; what cannot be read becomes a row that says so."""
    kept = {name: row[name] for name in ("image_id", "cluster_id", "role", "split", "source")}
    path = build.parents.dataset.resolve_path(row["path"])
    try:
        read_file(path, row["sha256"])
        file = encoder.parent(path)
    except ImageError as error:
        return ImageRow(**kept, path="", status=error.status, error=str(error))
    return ImageRow(**kept, **_saved(build.output, PARENTS, number, file))


def _child(output: Path, name: str, drawn: Drawn, encoder: Encoder) -> ImageRow:
    child = drawn.child
    told: dict[str, Any] = {
        "image_id": child.image_id,
        "cluster_id": child.cluster_id,
        "role": "child",
        "split": child.split,
        "source": child.source,
        "caption_index": child.caption_index,
        "generator": name,
    }
    if drawn.image is None:
        return ImageRow(**told, path="", status=drawn.status, error=drawn.error)
    try:
        file = encoder.child(drawn.image, child.parent)
    except ImageError as error:
        return ImageRow(**told, path="", status=error.status, error=f"its parent: {error}")
    return ImageRow(**told, **_saved(output, name, child.number, file), seed=drawn.seed)


def _saved(output: Path, name: str, number: int, file: File) -> dict[str, Any]:
    """Write an image file; return what its row says of it."""
    path = image_path(name, number, file.suffix)
    sha256 = save(output / path, file.data)
    return {"path": path, "width": file.width, "height": file.height, "format": file.format, "sha256": sha256}


def _beside(progress: Progress, name: str, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(name, before + done, total)


@contextmanager
def _keeping(output: Path) -> Iterator[None]:
    """Say what a full disk means for what is done."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BuildError(f"{output}: the disk is full; what is done is kept: make room and start again") from None
