"""Verdicts as a table, JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from changeling.detect.detector import Verdict
from changeling.errors import ChangelingError
from changeling.files import atomic_write

if TYPE_CHECKING:
    from rich.table import Table

Format = Literal["table", "jsonl", "csv", "parquet"]
FIELDS = tuple(field.name for field in fields(Verdict))
COLOURS = {"real": "green", "fake": "red", "unsure": "yellow"}


def deliver(verdicts: Iterable[Verdict], form: Format, output: Path | None) -> Counter[str]:
    """Write verdicts to `output`, whole or not at all, or to standard output as they come.

    Returns how many there were of each label, and of each status other than "ok".

    Raises:
        ChangelingError: Parquet without an output, or the output cannot be written.
    """
    counts: Counter[str] = Counter()
    if output is None:
        if form == "parquet":
            raise ChangelingError("parquet is not for a terminal: name a file with --output")
        _write(_counted(verdicts, counts), form, sys.stdout)
        return counts
    if not output.name:
        raise ChangelingError(f"--output {str(output)!r} is not a file to write")
    try:
        with atomic_write(output) as temporary:
            if form == "parquet":
                _write_parquet(_counted(verdicts, counts), temporary)
            else:
                with temporary.open("w", encoding="utf-8", newline="") as file:
                    _write(_counted(verdicts, counts), form, file)
    except OSError as error:
        raise ChangelingError(f"cannot write {output}: {error.strerror or error}") from None
    return counts


def summarise(counts: Counter[str]) -> str:
    """One line: how many of each."""
    labels = ("real", "fake", "unsure")
    unreadable = {status: count for status, count in sorted(counts.items()) if status not in labels}
    parts = [f"{counts[label]} {label}" for label in labels]
    if unreadable:
        kinds = ", ".join(f"{count} {status}" for status, count in unreadable.items())
        parts.append(f"{sum(unreadable.values())} unreadable ({kinds})")
    return f"{counts.total()} images: {', '.join(parts)}"


def as_table(verdicts: Iterable[Verdict]) -> Table:
    """A table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("probability", justify="right")
    table.add_column("label")
    table.add_column("path", overflow="fold")
    table.add_column("", style="dim", overflow="fold")
    for verdict in verdicts:
        probability = "" if verdict.probability is None else f"{verdict.probability:.3f}"
        label = verdict.label or verdict.status
        colour = COLOURS.get(label, "magenta")
        table.add_row(
            probability,
            f"[{colour}]{label}[/]",
            escape(printable(verdict.path)),
            escape(printable(verdict.error or "")),
        )
    return table


def printable(path: str) -> str:
    """A path that any terminal and any UTF-8 file can hold: bytes and control characters are escaped."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _counted(verdicts: Iterable[Verdict], counts: Counter[str]) -> Iterator[Verdict]:
    for verdict in verdicts:
        counts[verdict.label or verdict.status] += 1
        yield verdict


def _write(verdicts: Iterable[Verdict], form: Format, file: TextIO) -> None:
    if form == "table":
        from rich.console import Console

        Console(file=file, highlight=False).print(as_table(verdicts))
    elif form == "jsonl":
        for verdict in verdicts:
            # ASCII: bytes that are no UTF-8 stay in the path as lone surrogates, and os.fsencode brings them back
            file.write(json.dumps(asdict(verdict)) + "\n")
            file.flush()
    else:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for verdict in verdicts:
            row = asdict(verdict) | {"path": _utf8(verdict.path), "error": _utf8(verdict.error or "")}
            writer.writerow(row.values())


def _write_parquet(verdicts: Iterable[Verdict], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"probability": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in FIELDS])
    rows = [asdict(verdict) | {"path": _utf8(verdict.path)} for verdict in verdicts]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _utf8(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
