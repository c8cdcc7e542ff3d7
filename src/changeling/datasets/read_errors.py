"""Errors of files that cannot be read."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from changeling.errors import DatasetError

_ERRORS = (OSError, pa.ArrowException, ValueError, LookupError, ArithmeticError, RecursionError, csv.Error)


@contextmanager
def convert_read_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading and parsing in the block as a DatasetError which says that `path` cannot be read."""
    try:
        yield
    except _ERRORS as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetError(f"{path} cannot be read: {reason}") from None
