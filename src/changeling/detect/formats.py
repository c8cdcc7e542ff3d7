"""The formats in which verdicts are written, and how the output's suffix chooses one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from changeling.errors import ChangelingError


class VerdictFormat(StrEnum):
    """A format of verdicts. Each one but the table is also the suffix of its files."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class InspectFormat(StrEnum):
    """A format of inspected files."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


SUFFIXES = {f".{name.value}": name for name in VerdictFormat if name is not VerdictFormat.TABLE}


def parse_format(name: str) -> VerdictFormat:
    """Return the format of a name. Raises ChangelingError if there is none."""
    try:
        return VerdictFormat(name)
    except ValueError:
        *names, last = VerdictFormat
        raise ChangelingError(f"--format {name}: there is no such format; use {', '.join(names)} or {last}") from None


def resolve_format(requested: VerdictFormat | None, output: Path | None) -> VerdictFormat:
    """Return the requested format, or else that of the output's suffix, or a table where there is no output.

    Raises:
        ChangelingError: the output is not a file name, no format has its suffix, or Parquet has no output.
    """
    if output is None:
        if requested is VerdictFormat.PARQUET:
            raise ChangelingError("parquet cannot be written to standard output; name a file with --output")
        return requested or VerdictFormat.TABLE
    if not output.name:
        raise ChangelingError(f"--output {str(output)!r} is not a file to write")
    if requested is not None:
        return requested
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        problem = f"unknown suffix {suffix!r}" if suffix else "no suffix"
        *names, last = SUFFIXES
        hint = " (Excel imports .csv)" if suffix in (".xlsx", ".xls") else ""
        raise ChangelingError(
            f"--output {output}: {problem}; use {', '.join(names)} or {last}{hint}, or choose --format"
        )
    return SUFFIXES[suffix]


def check_evidence_format(format: VerdictFormat) -> None:
    """Raise ChangelingError if a format of verdicts has no place for evidence."""
    if format in (VerdictFormat.CSV, VerdictFormat.PARQUET):
        raise ChangelingError(f"--evidence cannot be written as {format.value}; choose --format json, jsonl or table")
