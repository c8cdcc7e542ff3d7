"""Atomic writes of the report's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from changeling.errors import ReportError
from changeling.files import atomic_write


@contextmanager
def write_report_file(path: Path) -> Iterator[Path]:
    """Write a file atomically, as `files.atomic_write` does. Raises ReportError if it cannot be written."""
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror or error}") from None
