"""Samples in tar files, as WebDataset stores them: consecutive files whose names are equal up to the first dot.

Tar files are untrusted. Nothing is extracted to the disk; names are keys and never paths; files with unknown suffixes
are skipped; links, devices, oversized files and truncated archives are errors.
"""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import DatasetError
from changeling.images.decode import MAX_BYTES, SUFFIXES

_MAX_TEXT = 16 << 20
_TEXT_SUFFIXES = (".json", ".txt", ".cls")


@dataclass(slots=True)
class Sample:
    """The files of one sample.

    Attributes:
        key: their names up to the first dot, with the folders.
        image: the bytes of the image; None if there is none.
        texts: the bytes of the other files by their suffix: .json, .txt, .cls.
    """

    key: str
    image: bytes | None = None
    texts: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of the archive; `data` is None if its suffix is unknown."""

    key: str
    suffix: str
    data: bytes | None


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a tar file. Raises DatasetError if it is not a complete and valid one."""
    for key, members in itertools.groupby(_read_members(path), key=lambda member: member.key):
        sample, skipped_image = Sample(key), ""
        for member in members:
            suffix = member.suffix
            if suffix in sample.texts or (suffix in SUFFIXES and sample.image is not None):
                raise DatasetError(f"{path}: sample {key!r} has more than one image, or two files {suffix}")
            if member.data is None:
                skipped_image = f"{key}{suffix}" if suffix.endswith(tuple(SUFFIXES)) else skipped_image
            elif suffix in SUFFIXES:
                sample.image = member.data
            else:
                sample.texts[suffix] = member.data
        if sample.image is not None or sample.texts:
            yield sample
        elif skipped_image:
            raise DatasetError(
                f"{path}: {skipped_image!r} has several dots, and the part after the first is not a suffix of an "
                "image; rename the file"
            )


def _read_members(path: Path) -> Iterator[_Member]:
    """Yield every file of a tar file. Raises DatasetError."""
    with _open_tar(path) as (file, archive):
        previous_offset = -1
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
            if info.offset <= previous_offset or info.size < 0:
                raise ValueError(f"{info.name!r} has an invalid position or size")
            previous_offset = info.offset
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise ValueError(f"{info.name!r} is a link, a device or a sparse file")
            member = _read_member(archive, info)
            if member is not None:
                yield member
        _check_end(file, archive)


def _read_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member | None:
    """Read a regular file; None for hidden files, such as those of macOS."""
    folder, slash, name = info.name.rpartition("/")
    stem, dot, ending = name.partition(".")
    if not stem:
        return None
    key, suffix = f"{folder}{slash}{stem}", f"{dot}{ending.lower()}"
    if suffix not in SUFFIXES and suffix not in _TEXT_SUFFIXES:
        return _Member(key, suffix, None)
    if info.size > (MAX_BYTES if suffix in SUFFIXES else _MAX_TEXT):
        raise ValueError(f"{info.name!r} is too large, with {info.size:,} bytes")
    content = archive.extractfile(info)
    return _Member(key, suffix, content.read() if content else b"")


def _check_end(file: FileIO, archive: tarfile.TarFile) -> None:
    """Check that the archive ends where tarfile stopped, because it takes invalid headers for the end."""
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError("it ends too early, or is broken in the middle")
    while block := file.read(tarfile.BLOCKSIZE):
        if block.strip(b"\0"):
            raise ValueError("there is data after its end; concatenated tar files are not supported")


class _BoundedFile(FileIO):
    """A file that refuses to read more at once than an image may have, because tarfile trusts the sizes in headers."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_BYTES:
            raise ValueError("a header in it is too large")
        return super().read(size) or b""


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[FileIO, tarfile.TarFile]]:
    """Open a tar file; errors in the block are raised as DatasetError."""
    with convert_read_errors(path):
        try:
            with _BoundedFile(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                yield file, archive
        except tarfile.TarError as error:
            raise ValueError(str(error)) from None
