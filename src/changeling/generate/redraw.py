"""One child drawn again: its file is put back, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from changeling.errors import BuildError
from changeling.files import whole
from changeling.generate.build import Build, agree, part_of
from changeling.generate.children import Child
from changeling.generate.draw import draw_part
from changeling.generate.encoding import Encoder
from changeling.generate.parts import PART, count_parts, image_path, part_path, read_header, read_part
from changeling.generate.run import load


def redraw(build: Build, image_id: str) -> Path:
    """Draw one child again and put its file back where it belongs; return its path.

    Raises:
        BuildError: there is no such child, it was flagged, or its bytes are no longer what they were.
    """
    name, child = _find(build, image_id)
    index = child.number // PART
    path = part_path(build.output, name, index)
    if not path.exists():
        raise BuildError(f"{image_id} is not made yet; `changeling build` makes it")
    row = read_part(path).to_pylist()[child.number % PART]
    header = read_header(path)
    generator = load(build, name)
    children = build.children(name, index)
    if header.made_of != part_of(agree(build, name, generator), children):
        raise BuildError(f"{image_id} was made of other parents, captions or settings than there are now")
    group = children if header.batch > 1 else [child]  # of a batch all are drawn, as they were
    drawn, _ = draw_part(generator, group, build.generators[name].redraws, header.batch)
    (one,) = (drawn for drawn in drawn if drawn.child.number == child.number)
    if one.image is None:
        raise BuildError(f"{image_id}: {one.error}")
    file = Encoder(build.settings).child(one.image, child.parent)
    target = build.output / image_path(name, child.number, file.suffix)
    return _put(target, file.data, row["sha256"], image_id, (header.device, generator.device))


def _find(build: Build, image_id: str) -> tuple[str, Child]:
    for name in build.generators:
        if image_id.startswith(f"{name}/"):
            for index in range(count_parts(build.count(name))):
                for child in build.children(name, index):
                    if child.image_id == image_id:
                        return name, child
    raise BuildError(f"there is no child {image_id!r}; ids are in images.parquet, such as {_example(build)!r}")


def _example(build: Build) -> str:
    name = next(iter(build.generators))
    return build.children(name, 0)[0].image_id


def _put(path: Path, data: bytes, sha256: str | None, image_id: str, devices: tuple[str, str]) -> Path:
    if hashlib.sha256(data).hexdigest() != sha256:
        then, now = devices
        raise BuildError(
            f"{image_id} has other bytes now; nothing was written (it was drawn on {then}, this is {now}; or its file "
            "was recorded before it was changed)"
        )
    with whole(path) as temporary:
        temporary.write_bytes(data)
    return path
