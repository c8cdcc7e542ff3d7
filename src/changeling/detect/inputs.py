"""Which files a command line means: files, folders, globs, and a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from changeling.errors import ChangelingError
from changeling.images.decode import is_image


def find_images(arguments: Iterable[str], stdin: BinaryIO) -> list[str]:
    """Paths in the order given; folders are searched below, sorted by name.

    A file that is named counts whatever it is; in folders those count whose suffix is an image's. `-` reads a
    list from `stdin`, a path a line, or ended by NUL bytes as `find -print0` writes them.

    Raises:
        ChangelingError: a glob or folder holds no image, or nothing was named.
    """
    found: list[str] = []
    for argument in arguments:
        some = list(_listed(stdin) if argument == "-" else _expand(argument))
        if not some:
            raise ChangelingError(f"no images: {'standard input is empty' if argument == '-' else argument}")
        found += some
    return found


def _expand(argument: str) -> Iterator[str]:
    if os.path.isdir(argument):  # noqa: PTH112 (a path may hold a NUL byte, which pathlib does not take)
        yield from _below(argument)
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207
            yield from _below(match) if os.path.isdir(match) else [match]  # noqa: PTH112
    else:
        yield argument


def _below(folder: str) -> Iterator[str]:
    """Images below a folder, and folders that cannot be listed: they become rows that say so."""
    denied: list[str] = []
    for where, folders, files in os.walk(folder, onerror=lambda error: denied.append(str(error.filename))):
        folders.sort()
        for name in sorted(files):
            if is_image(name):
                yield os.path.join(where, name)  # noqa: PTH118
    yield from denied


def _listed(stdin: BinaryIO) -> Iterator[str]:
    data = stdin.read()
    for line in data.split(b"\0") if b"\0" in data else data.splitlines():
        if line:
            yield os.fsdecode(line)
