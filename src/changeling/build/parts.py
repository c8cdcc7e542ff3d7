"""Parts of a build: rows of images.parquet, each part written after all of its image files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.datasets.schema import IMAGES_SCHEMA, ImageRow
from changeling.errors import BuildError, one_line
from changeling.files import atomic_write
from changeling.parts import METADATA_KEY, PartStore, unique_folder_name

if TYPE_CHECKING:
    from changeling.generators.base import Child

PART_SIZE = 32  # images in a part: as many are lost when a process is killed, and a worker takes as many at a time
PARENTS = "parents"  # the name that the parts of the parents are stored under
_FOLDER_SIZE = 1000  # image files in a folder
_JOINED_PARTS = 64  # parts that are held in memory while they are joined


class BuildHeader(BaseModel):
    """How the images of a part were made; stored as JSON in the metadata of its Parquet file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_of: str  # hash of everything that its images are made from
    batch: int  # how many children the model drew at once
    device: str


class BuildPartFormat:
    """Part files of a build: Parquet, with the columns of images.parquet."""

    suffix = ".parquet"

    def write(self, path: Path, header: BuildHeader, content: pa.Table) -> None:
        """Write a part file."""
        pq.write_table(content.replace_schema_metadata({METADATA_KEY: header.model_dump_json()}), path)

    def read_header(self, path: Path) -> BuildHeader:
        """Return the header of a part file. Raises BuildError if the file is not a part of a build."""
        try:
            return BuildHeader.model_validate_json((pq.read_schema(path).metadata or {})[METADATA_KEY.encode()])
        except (pa.ArrowException, OSError, KeyError, ValidationError) as error:
            reason = one_line(error)
            raise BuildError(f"{path} is not a part of a build ({reason}); remove it and build again") from None

    def read(self, path: Path) -> pa.Table:
        """Return the rows of a part file. Raises BuildError if it cannot be read."""
        try:
            with pq.ParquetFile(path) as file:
                return file.read().select(IMAGES_SCHEMA.names).cast(IMAGES_SCHEMA)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _unreadable(path, error) from None


BuildParts: TypeAlias = PartStore[BuildHeader, pa.Table]


def build_parts(output: Path, name: str, image_count: int, part_size: int = PART_SIZE) -> BuildParts:
    """The parts of a generator, or of `PARENTS`, in the dataset folder `output`."""
    return PartStore(build_folder(output, name), BuildPartFormat(), image_count, part_size)


def build_folder(output: Path, name: str) -> Path:
    """The folder of the parts and the record of a generator, or of `PARENTS`."""
    return output / "build" / unique_folder_name(name)


def image_path(name: str, number: int, suffix: str) -> str:
    """The path of the image with this number, relative to the dataset folder."""
    return f"images/{unique_folder_name(name)}/{number // _FOLDER_SIZE:04d}/{number:07d}{suffix}"


def hash_sources(*sources: object) -> str:
    """Twelve hexadecimal digits over everything that a part is made from."""
    return hashlib.sha256(repr(sources).encode()).hexdigest()[:12]


def hash_children(record: Mapping[str, Any], children: Sequence[Child]) -> str:
    """The hash of everything that a part of children is made from: the generator's record and the requests."""
    requests = [(child.image_id, child.prompt, child.seed, child.parent.sha256) for child in children]
    return hash_sources(json.dumps(record, sort_keys=True), requests)


def hash_parents(encoding_record: Mapping[str, object], rows: Sequence[Mapping[str, Any]]) -> str:
    """The hash of everything that a part of parents is made from: the encoding's record and rows of images.parquet."""
    return hash_sources(encoding_record, [(row["image_id"], row["sha256"]) for row in rows])


def to_table(rows: Sequence[ImageRow]) -> pa.Table:
    """Rows of images.parquet as an Arrow table."""
    records = [asdict(row) for row in rows]
    columns = {name: [record[name] for record in records] for name in IMAGES_SCHEMA.names}
    return pa.table(columns, schema=IMAGES_SCHEMA)


def count_written_rows(parts: BuildParts, index: int) -> int:
    """How many rows a part has that is written. Raises BuildError if it cannot be read."""
    path = parts.path(index)
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def join_parts(stores: Iterable[BuildParts], images: Path) -> None:
    """Write images.parquet from all parts of all stores, one after the other, in little memory."""
    tables: list[pa.Table] = []
    with atomic_write(images) as temporary, pq.ParquetWriter(temporary, IMAGES_SCHEMA) as writer:
        for store in stores:
            for index in store.indices:
                tables.append(store.read(index))
                if len(tables) == _JOINED_PARTS:
                    _write_tables(writer, tables)
                    tables.clear()
        if tables:
            _write_tables(writer, tables)


def _write_tables(writer: pq.ParquetWriter, tables: Sequence[pa.Table]) -> None:
    writer.write_table(pa.concat_tables(tables).replace_schema_metadata(None))


def _unreadable(path: Path, error: Exception) -> BuildError:
    return BuildError(f"{path} cannot be read ({one_line(error)}); remove it and build again")
