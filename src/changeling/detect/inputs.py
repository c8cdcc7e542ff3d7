"""Find the image files that a command line names: files, folders, globs, and a list on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from changeling.errors import ChangelingError
from changeling.files import StrPath
from changeling.images.decode import is_image


def find_images(
    arguments: Iterable[StrPath], stdin: BinaryIO | None = None, *, other_files: list[str] | None = None
) -> list[str]:
    """Return the paths of images in the order of the arguments; folders are searched recursively, sorted by name.

    A file that is named is returned whatever its suffix; in folders, files with the suffix of an image are. With
    `stdin`, `-` reads a list from it: one path a line, or paths that end with NUL bytes, as `find -print0` writes them.
    To `other_files`, the paths of the other files in these folders are appended, except of hidden ones.

    Raises:
        ChangelingError: a glob, a folder or standard input has no image.
        TypeError: a single path was passed instead of several.
    """
    if isinstance(arguments, str | bytes | os.PathLike):
        raise TypeError("find_images takes several paths: put a single one in a list")
    paths: list[str] = []
    others = [] if other_files is None else other_files
    for argument in [os.fspath(argument) for argument in arguments]:
        is_list = argument == "-" and stdin is not None
        found = list(_read_list(stdin) if stdin and is_list else _expand_argument(argument, others))
        if not found:
            raise ChangelingError(f"no images: {'standard input is empty' if is_list else argument}")
        paths += found
    return paths


def _expand_argument(argument: str, other_files: list[str]) -> Iterator[str]:
    if os.path.isdir(argument):  # noqa: PTH112 (a path may contain a NUL byte, which pathlib refuses)
        yield from _find_images_below(argument, other_files)
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207
            yield from _find_images_below(match, other_files) if os.path.isdir(match) else [match]  # noqa: PTH112
    else:
        yield argument


def _find_images_below(folder: str, other_files: list[str]) -> Iterator[str]:
    """Yield the images below a folder, then the folders that cannot be listed: each gets a verdict with its error.

    The other files, except hidden ones, are appended to `other_files`.
    """
    denied: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: denied.append(str(error.filename))):
        folders.sort()
        for name in sorted(files):
            if is_image(name):
                yield os.path.join(parent, name)  # noqa: PTH118
            elif not name.startswith("."):
                other_files.append(os.path.join(parent, name))  # noqa: PTH118
    yield from denied


def _read_list(stdin: BinaryIO) -> Iterator[str]:
    data = stdin.read()
    for line in data.split(b"\0") if b"\0" in data else data.splitlines():
        if line:
            yield os.fsdecode(line)
