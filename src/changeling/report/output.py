"""How the report's files are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from changeling.errors import ReportError
from changeling.files import atomic_write


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """`whole`, which raises ReportError if the file cannot be written."""
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror or error}") from None
