"""Parts: fixed ranges of rows, each stored in one file that is written completely or not at all.

A part is the unit of work, of resuming and of distributing work. Features, features of captions and builds all store
their rows in parts; they differ in what a part file contains, which is a `PartFormat`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from changeling.files import atomic_write

METADATA_KEY = "changeling"  # under which a part file holds its header, as JSON
_MAX_FOLDER_NAME = 80  # characters, without the hash

HeaderT = TypeVar("HeaderT", bound=BaseModel)
ContentT = TypeVar("ContentT")


class PartFormat(Protocol[HeaderT, ContentT]):
    """What a part file contains: a header, and the rows themselves."""

    suffix: str

    def write(self, path: Path, header: HeaderT, content: ContentT) -> None:
        """Write a part file."""

    def read_header(self, path: Path) -> HeaderT:
        """Return the header of a part file. Raises ChangelingError if the file is not such a part."""

    def read(self, path: Path) -> ContentT:
        """Return the rows of a part file. Raises ChangelingError if the file is not such a part."""


@dataclass(frozen=True, slots=True)
class PartStore(Generic[HeaderT, ContentT]):
    """A folder with the parts of a sequence of rows.

    Attributes:
        row_count: how many rows all parts have together.
        part_size: how many rows each part has; the last one may have fewer.
        prefix: how the names of the part files begin.
    """

    folder: Path
    format: PartFormat[HeaderT, ContentT]
    row_count: int
    part_size: int
    prefix: str = "part"

    @property
    def indices(self) -> range:
        """The indices of all parts, written or not."""
        return range(-(-self.row_count // self.part_size))

    @property
    def paths(self) -> list[Path]:
        """The paths of all part files, written or not."""
        return [self.path(index) for index in self.indices]

    @property
    def missing(self) -> list[int]:
        """The indices of the parts that are not written yet."""
        return [index for index in self.indices if not self.exists(index)]

    def row_range(self, index: int) -> tuple[int, int]:
        """The first row of a part and the row after its last one."""
        start = index * self.part_size
        return start, min(start + self.part_size, self.row_count)

    def count_rows(self, indices: Iterable[int]) -> int:
        """How many rows these parts have together, written or not."""
        return sum(stop - start for start, stop in map(self.row_range, indices))

    def path(self, index: int) -> Path:
        """The path of a part file."""
        return self.folder / f"{self.prefix}-{index:05d}{self.format.suffix}"

    def exists(self, index: int) -> bool:
        """Whether a part is written."""
        return self.path(index).exists()

    def write(self, index: int, header: HeaderT, content: ContentT) -> None:
        """Write a part to a temporary file and rename it last, so that a part which exists is complete."""
        with atomic_write(self.path(index)) as temporary:
            self.format.write(temporary, header, content)

    def read_header(self, index: int) -> HeaderT:
        """Return the header of a part. Raises ChangelingError if its file is not such a part."""
        return self.format.read_header(self.path(index))

    def read(self, index: int) -> ContentT:
        """Return the rows of a part. Raises ChangelingError if its file is not such a part."""
        return self.format.read(self.path(index))

    def remove(self, index: int) -> None:
        """Remove a part, if it is written."""
        self.path(index).unlink(missing_ok=True)


def replace_separators(name: str) -> str:
    """The name of a backbone or generator in a file name: slashes and colons become underscores."""
    return name.replace("/", "_").replace(":", "_")


def unique_folder_name(name: str) -> str:
    """A folder name that is safe on every file system and differs for any two names.

    A name of ASCII letters, digits, "-", "_" and "." is returned as it is. In any other name the unsafe characters
    become underscores, and a tilde and a hash of the name are appended.
    """
    safe = "".join(letter if (letter.isascii() and letter.isalnum()) or letter in "-_." else "_" for letter in name)
    safe = safe[:_MAX_FOLDER_NAME].lstrip(".")
    return name if name and safe == name else f"{safe}~{hashlib.sha256(name.encode()).hexdigest()[:6]}"
