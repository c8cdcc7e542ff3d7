"""Atomic writes, checks of outputs, free disk space, and cells of CSV files that no spreadsheet runs as formulas."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from changeling.errors import ChangelingError

StrPath = str | os.PathLike[str]  # what public functions take as a path
LEFTOVER_AGE = 24 * 3600.0  # seconds after which a temporary file belongs to no running process
_TOKEN_BYTES = 8


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` if the block succeeds and is removed if it fails.

    The folder is created if it is missing. The name of the temporary file is `.NAME.TOKEN.tmp` with a random token, so
    that processes on any number of machines can write the same file. A killed process leaves its temporary file; the
    next write of the same file removes it once it is older than `LEFTOVER_AGE`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN_BYTES)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explain_full_disk(folder: Path, error_class: type[ChangelingError]) -> Iterator[None]:
    """Raise `error_class`, with one line, in place of the OSError of a full disk or an exceeded quota."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise error_class(f"{folder}: the disk is full; finished parts are kept: make room and start again") from None


def check_output_file(path: Path) -> None:
    """Raise ChangelingError if no file can be written to a path: it is a folder, or its folder cannot be made."""
    if path.is_dir():
        raise ChangelingError(f"{path} is a folder; choose a file to write")
    check_output_folder(path.parent)


def check_output_folder(folder: Path) -> None:
    """Raise ChangelingError if a folder can be neither written to nor made."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ChangelingError(f"{existing} is a file where a folder is to be written; choose another output")
    if not os.access(existing, os.W_OK):
        raise ChangelingError(f"{existing} may not be written to; choose another output")


def free_bytes(folder: Path) -> int:
    """The free space on the disk that `folder` is on, or will be on, in bytes."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def replaced_path(path: str) -> str:
    """Return the path that a temporary file of `atomic_write` is to replace; any other path as it is."""
    match = re.fullmatch(rf"(.*/)?\.(.+)\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\.tmp", path)
    return f"{match[1] or ''}{match[2]}" if match else path


def escape_formula(text: str) -> str:
    """Return the text as a CSV cell: a ' is put before anything that a spreadsheet would run as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` that are older than `LEFTOVER_AGE`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\.tmp")
    for name in os.listdir(path.parent):  # noqa: PTH208 (many times as fast)
        if pattern.fullmatch(name):
            leftover = path.with_name(name)
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed or removed it
                if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                    leftover.unlink()
