"""Parts of a build on disk: rows of images.parquet, written when all their image files are there, whole or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.datasets.schema import IMAGES_SCHEMA, ImageRow
from changeling.errors import BuildError, one_line
from changeling.files import atomic_write

PART = 32  # children in a part: what a kill can cost, and what a worker takes at a time
PARENTS = "parents"  # the name under which the parents' own parts are kept
_IN_A_FOLDER = 1000  # image files
_LONGEST = 80  # letters in the name of a folder


class Header(BaseModel):
    """What a part says of itself, in the metadata of its parquet file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_of: str  # hash of all that its images come from: another one is another part
    batch: int  # how many children the model drew at once
    device: str


def part_path(dataset: Path, name: str, index: int) -> Path:
    """Where a part is, of a generator or of `PARENTS`."""
    return dataset / "build" / slug(name) / f"part-{index:05d}.parquet"


def image_path(name: str, number: int, suffix: str) -> str:
    """Where the image with this number is, from the dataset folder."""
    return f"images/{slug(name)}/{number // _IN_A_FOLDER:04d}/{number:07d}{suffix}"


def slug(name: str) -> str:
    """A generator's name as a folder: what is odd in it is replaced, and told apart by a hash after a tilde."""
    plain = "".join(letter if (letter.isascii() and letter.isalnum()) or letter in "-_." else "_" for letter in name)
    plain = plain[:_LONGEST].lstrip(".")
    return name if name and plain == name else f"{plain}~{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def made_of(*what: object) -> str:
    """Twelve hexadecimal digits over what a part is made of."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def count_parts(images: int) -> int:
    """How many parts so many images are in."""
    return -(-images // PART)


def write_part(path: Path, header: Header, rows: Sequence[ImageRow]) -> None:
    """Write a part under a temporary name and rename it last: from then on its images are done."""
    columns = {name: [asdict(row)[name] for row in rows] for name in IMAGES_SCHEMA.names}
    schema = IMAGES_SCHEMA.with_metadata({"changeling": header.model_dump_json()})
    with atomic_write(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


def read_header(path: Path) -> Header:
    """Read what a part says of itself. Raises BuildError if it is not a part."""
    try:
        return Header.model_validate_json((pq.read_schema(path).metadata or {})[b"changeling"])
    except (pa.ArrowException, OSError, KeyError, ValidationError) as error:
        raise BuildError(f"{path} is not a part of a build ({one_line(error)}); remove it and build again") from None


def count_rows(path: Path) -> int:
    """How many images a part has. Raises BuildError if it cannot be read."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise BuildError(f"{path} cannot be read ({one_line(error)}); remove it and build again") from None


def read_part(path: Path) -> pa.Table:
    """The rows of a part. Raises BuildError if it cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read().select(IMAGES_SCHEMA.names).cast(IMAGES_SCHEMA)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BuildError(f"{path} cannot be read ({one_line(error)}); remove it and build again") from None


def join_parts(paths: Iterable[Path], images: Path) -> None:
    """Write images.parquet from all parts, one after the other, in little memory."""
    with atomic_write(images) as temporary, pq.ParquetWriter(temporary, IMAGES_SCHEMA) as writer:
        waiting: list[pa.Table] = []
        for path in paths:
            waiting.append(read_part(path))
            if len(waiting) == 64:
                writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(None))
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(None))
