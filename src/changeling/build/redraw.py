"""Files that are gone or changed, made again: a child is drawn, a parent saved, and its file put back byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from changeling.build.draw import draw_part
from changeling.build.encoding import Encoder
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.record import agree, parents_of, part_of
from changeling.build.runner import load
from changeling.errors import BuildError, ImageError
from changeling.files import atomic_write
from changeling.images.decode import read_file

if TYPE_CHECKING:
    from changeling.generators.base import Generator


def redraw(build: Build, image_ids: Sequence[str]) -> Iterator[Path]:
    """Make each of these images again and put its file back where it belongs; yield its path.

    Raises:
        BuildError: there is no such image, it has no file, or its bytes are no longer what they were.
    """
    found = [(image_id, *_find(build, image_id)) for image_id in image_ids]
    loaded = cache(lambda name: load(build, name))
    for image_id, name, number in found:
        parts = build.parts(name)
        index, place = divmod(number, parts.part_size)
        if not parts.exists(index):
            raise BuildError(f"{image_id} is not made yet; `changeling build` makes it")
        rows = parts.read(index).to_pylist()
        if place >= len(rows):
            raise BuildError(f"{image_id} is not made yet; `changeling build` makes it")
        row = rows[place]
        if row["status"] != "ok":
            raise BuildError(f"{image_id} has no file: {row['error']}")
        try:
            if name == PARENTS:
                data, devices = _parent(build, number, len(rows)), ""
            else:
                data, devices = _child(build, name, number, len(rows), loaded(name))
        except ImageError as error:
            raise BuildError(f"{image_id}: {error}") from None
        yield _put(build.output / row["path"], data, row, devices)


def _find(build: Build, image_id: str) -> tuple[str, int]:
    """Whose image it is, and its number there."""
    place = pc.index(build.parents.images["image_id"], image_id).as_py()
    if place >= 0:
        return PARENTS, place
    for name in build.generators:
        if image_id.startswith(f"{name}/"):
            for index in build.parts(name).indices:
                for child in build.children(name, index):
                    if child.image_id == image_id:
                        return name, child.number
    example = build.children(next(iter(build.generators)), 0)[0].image_id
    raise BuildError(f"there is no image {image_id!r}; ids are in images.parquet, such as {example!r}")


def _parent(build: Build, number: int, count: int) -> bytes:
    """The bytes of its file; its part has so many images."""
    parts = build.parts(PARENTS)
    index, place = divmod(number, parts.part_size)
    rows = build.parents.images.slice(number - place, count).to_pylist()
    row = rows[place]
    if parts.read_header(index).made_of != parents_of(build, rows):
        raise BuildError(f"{row['image_id']} is of other parents, or was saved in another way, than there are now")
    path = build.parents.dataset.resolve_path(row["path"])
    read_file(path, row["sha256"])
    return Encoder(build.settings).parent(path).data


def _child(build: Build, name: str, number: int, count: int, generator: Generator) -> tuple[bytes, str]:
    """The bytes of its file, whose part has so many images; and on what it was drawn then and now."""
    parts = build.parts(name)
    index, place = divmod(number, parts.part_size)
    header, children = parts.read_header(index), build.children(name, index)[:count]
    child = children[place]
    if header.made_of != part_of(agree(build, name, generator), children):
        raise BuildError(f"{child.image_id} was made of other parents or captions than there are now")
    group = children if header.batch > 1 else [child]  # of a batch all are drawn, as they were
    drawn, _ = draw_part(generator, group, build.generators[name].redraws, header.batch)
    one = drawn[place if header.batch > 1 else 0]
    if one.image is None:
        raise BuildError(f"{child.image_id}: {one.error}")
    devices = f"it was drawn on {header.device}, this is {generator.device}; or "
    return Encoder(build.settings).child(one.image, child.parent).data, devices


def _put(path: Path, data: bytes, row: dict[str, Any], devices: str) -> Path:
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        reason = f"{devices}Pillow or its libraries are of another version"
        raise BuildError(f"{row['image_id']} has other bytes now; nothing was written ({reason})")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path
