"""Tar files of samples, as WebDataset has them: neighbours whose names differ after the first dot belong together.

They are not trusted: nothing is unpacked, a name is a key and no path, what has no known ending is passed over, and
what is larger than an image may be, is a link or a device, or ends too early is an error.
"""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from changeling.datasets.importers.tables import reading
from changeling.errors import DatasetError
from changeling.images.decode import MAX_BYTES, SUFFIXES

_MAX_TEXT = 16 << 20
_TEXTS = (".json", ".txt", ".cls")


@dataclass(slots=True)
class Sample:
    """What belongs together.

    Attributes:
        key: what the names begin with, with the folders before it.
        image: the bytes of its image; None if it has none.
        texts: the bytes of its other files, by their suffix: .json, .txt, .cls.
    """

    key: str
    image: bytes | None = None
    texts: dict[str, bytes] = field(default_factory=dict)


def samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a tar file. Raises DatasetError if it is none, is not whole, or holds what it should not."""
    for key, files in itertools.groupby(_files(path), key=lambda file: file[0]):
        sample, passed = Sample(key), ""
        for _, suffix, data in files:
            if suffix in sample.texts or (suffix in SUFFIXES and sample.image is not None):
                raise DatasetError(f"{path}: sample {key!r} has two files where one is wanted: another {suffix}")
            if data is None:
                passed = f"{key}{suffix}" if suffix.endswith(tuple(SUFFIXES)) else passed
            elif suffix in SUFFIXES:
                sample.image = data
            else:
                sample.texts[suffix] = data
        if sample.image is not None or sample.texts:
            yield sample
        elif passed:
            raise DatasetError(f"{path}: {passed!r} has a dot too many: what follows the first is its kind")


def _files(path: Path) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield key and suffix of every file, and its bytes if the suffix is known."""
    with _opened(path) as (file, archive):
        before = -1
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember all
            if member.offset <= before or member.size < 0:
                raise ValueError(f"{member.name!r} lies where it cannot be")
            before = member.offset
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise ValueError(f"{member.name!r} is no file, but a link, a device or full of holes")
            folder, slash, name = member.name.rpartition("/")
            stem, dot, ending = name.partition(".")
            if not stem:  # as macOS leaves beside files
                continue
            suffix = f"{dot}{ending.lower()}"
            if suffix not in SUFFIXES and suffix not in _TEXTS:
                yield f"{folder}{slash}{stem}", suffix, None
                continue
            if member.size > (MAX_BYTES if suffix in SUFFIXES else _MAX_TEXT):
                raise ValueError(f"{member.name!r} is too large, with {member.size:,} bytes")
            content = archive.extractfile(member)
            yield f"{folder}{slash}{stem}", suffix, content.read() if content else b""
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes what it does not know for the end
            raise ValueError("it ends too early, or is broken in the middle")
        while rest := file.read(tarfile.BLOCKSIZE):
            if rest.strip(b"\0"):
                raise ValueError("something follows after its end; tar files that were joined are not read")


class _Bounded(FileIO):
    """A file of which no more is read at once than an image may have: tarfile believes every header."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_BYTES:
            raise ValueError("a header in it is too large")
        return super().read(size) or b""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_Bounded, tarfile.TarFile]]:
    """Open the tar file; whatever is wrong with it in the block is said of `path`."""
    with reading(path):
        try:
            with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                yield file, archive
        except tarfile.TarError as error:
            raise ValueError(str(error)) from None
