"""Restore lost or changed image files: draw a child or encode a parent again, and write it if the bytes are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from changeling.build.draw import draw_part, load_build_generator
from changeling.build.encoding import Encoder, write_image
from changeling.build.job import Build
from changeling.build.parts import PARENTS, hash_children, hash_parents
from changeling.build.record import write_or_check_record
from changeling.errors import BuildError, ImageError
from changeling.images.decode import read_file

if TYPE_CHECKING:
    from changeling.generators.base import Generator


@dataclass(frozen=True, slots=True)
class _Location:
    """Where an image of a build is.

    Attributes:
        name: the generator, or `PARENTS`.
        index: the part.
        position: the row in the part.
    """

    image_id: str
    name: str
    index: int
    position: int


@dataclass(frozen=True, slots=True)
class _Redrawn:
    """The bytes of an image that was made again, and what may be the reason if they differ from those on record."""

    data: bytes
    possible_reasons: str


def redraw_images(build: Build, image_ids: Sequence[str]) -> Iterator[Path]:
    """Make each of these images again and restore its file; yield its path.

    Raises:
        BuildError: there is no such image, it has no file, or its bytes differ from those on record.
    """
    locations = [_find_image(build, image_id) for image_id in image_ids]  # all ids are checked first
    load_generator = cache(lambda name: load_build_generator(build, name))
    for location in locations:
        yield _restore_file(build, location, load_generator)


def _find_image(build: Build, image_id: str) -> _Location:
    """The location of an image. Raises BuildError if the build has no such image."""
    number = pc.index(build.parents.images["image_id"], image_id).as_py()
    if number >= 0:
        return _Location(image_id, PARENTS, *divmod(number, build.part_size))
    for name in build.generators:
        if image_id.startswith(f"{name}/"):
            for index in build.parts(name).indices:
                for position, child in enumerate(build.list_children(name, index)):
                    if child.image_id == image_id:
                        return _Location(image_id, name, index, position)
    example = build.list_children(next(iter(build.generators)), 0)[0].image_id
    raise BuildError(f"there is no image {image_id!r}; ids are in images.parquet, such as {example!r}")


def _restore_file(build: Build, location: _Location, load_generator: Callable[[str], Generator]) -> Path:
    """Make an image again and write its file; return the path. Raises BuildError if the bytes differ."""
    rows = _read_part(build, location)
    row = rows[location.position]
    try:
        if location.name == PARENTS:
            redrawn = _encode_parent(build, location, len(rows))
        else:
            redrawn = _draw_child(build, location, len(rows), load_generator(location.name))
    except ImageError as error:
        raise BuildError(f"{location.image_id}: {error}") from None
    if hashlib.sha256(redrawn.data).hexdigest() != row["sha256"]:
        reasons = redrawn.possible_reasons
        raise BuildError(f"{location.image_id} has other bytes now; nothing was written ({reasons})")
    path: Path = build.output / row["path"]
    write_image(path, redrawn.data)
    return path


def _read_part(build: Build, location: _Location) -> list[dict[str, Any]]:
    """The rows of the part that an image is in. Raises BuildError if the image is not written or has no file."""
    parts = build.parts(location.name)
    rows = parts.read(location.index).to_pylist() if parts.exists(location.index) else []
    if location.position >= len(rows):
        raise BuildError(f"{location.image_id} is not made yet; `changeling build run` makes it")
    if rows[location.position]["status"] != "ok":
        raise BuildError(f"{location.image_id} has no file: {rows[location.position]['error']}")
    return rows


def _encode_parent(build: Build, location: _Location, part_rows: int) -> _Redrawn:
    """Encode a parent whose part has so many rows. Raises BuildError or ImageError."""
    parts, encoder = build.parts(PARENTS), Encoder(build.settings)
    start, _ = parts.row_range(location.index)
    rows = build.parents.images.slice(start, part_rows).to_pylist()
    if parts.read_header(location.index).made_of != hash_parents(encoder.record, rows):
        raise BuildError(f"{location.image_id} is of other parents, or was saved in another way, than there are now")
    row = rows[location.position]
    file = read_file(build.parents.dataset.resolve_path(row["path"]), row["sha256"])
    return _Redrawn(encoder.encode_parent(file).data, "Pillow or its libraries are of another version")


def _draw_child(build: Build, location: _Location, part_rows: int, generator: Generator) -> _Redrawn:
    """Draw and encode a child whose part has so many rows. Raises BuildError or ImageError."""
    name, position = location.name, location.position
    header = build.parts(name).read_header(location.index)
    children = build.list_children(name, location.index)[:part_rows]
    if header.made_of != hash_children(write_or_check_record(build, name, generator), children):
        raise BuildError(f"{location.image_id} was made of other parents or captions than there are now")
    if header.batch == 1:
        children, position = [children[position]], 0
    drawn, _ = draw_part(generator, children, build.generators[name].redraws, header.batch)  # a batch, as it was
    child, image = drawn[position].child, drawn[position].image
    if image is None:
        raise BuildError(f"{location.image_id}: {drawn[position].error}")
    encoded = Encoder(build.settings).encode_child(image, child.parent.file)
    devices = f"it was drawn on {header.device}, this is {generator.device}"
    return _Redrawn(encoded.data, f"{devices}; or Pillow or its libraries are of another version")
