"""Write verdicts as a table, a JSON list, JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from changeling.detect.detector import Verdict
from changeling.detect.evidence.evidence import summarize
from changeling.detect.evidence.inspect import VerdictWithEvidence
from changeling.detect.formats import VerdictFormat
from changeling.errors import ChangelingError
from changeling.files import atomic_write

if TYPE_CHECKING:
    from rich.table import Table

FIELDS = tuple(field.name for field in fields(Verdict))
LABELS = ("real", "fake", "unsure")
MAX_TABLE_WIDTH = 10_000  # characters
MAX_NAMED = 3  # files that are left out
COLOURS = {"real": "green", "fake": "red", "unsure": "yellow"}


def write_verdicts(verdicts: Iterable[Verdict], format: VerdictFormat, output: Path | None) -> Counter[str]:
    """Write verdicts to the file `output`, atomically, or to standard output one by one.

    Returns the number of verdicts for each label, and for each status other than "ok".

    Raises:
        ChangelingError: the output cannot be written.
    """
    counts: Counter[str] = Counter()
    counted_verdicts = _count_verdicts(verdicts, counts)
    if output is None:
        _TEXT_WRITERS[format](counted_verdicts, sys.stdout)
        return counts
    try:
        with atomic_write(output) as temporary:
            if format is VerdictFormat.PARQUET:
                _write_parquet(counted_verdicts, temporary)
            else:
                with temporary.open("w", encoding="utf-8", newline="") as file:
                    _TEXT_WRITERS[format](counted_verdicts, file)
    except OSError as error:
        raise ChangelingError(f"cannot write {output}: {error.strerror or error}") from None
    return counts


def format_summary(counts: Counter[str]) -> str:
    """Return one line with the number of images, of each label, and of unreadable files by status."""
    unreadable = {status: count for status, count in sorted(counts.items()) if status not in LABELS}
    parts = [f"{counts[label]} {label}" for label in LABELS]
    if unreadable:
        kinds = ", ".join(f"{count} {status}" for status, count in unreadable.items())
        parts.append(f"{sum(unreadable.values())} unreadable ({kinds})")
    return f"{counts.total()} image{'' if counts.total() == 1 else 's'}: {', '.join(parts)}"


def describe_other_files(paths: list[str]) -> str:
    """Return a sentence that names the first of the files that were left out since they are not images by name."""
    names = ", ".join(escape_unprintable(path) for path in paths[:MAX_NAMED])
    if len(paths) == 1:
        return f"1 file without the suffix of an image was left out: {names}"
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return f"{len(paths)} files without the suffix of an image were left out: {names}{more}"


def list_advice(counts: Counter[str]) -> list[str]:
    """Return sentences on what to do about images without a clear label, and about files that were not found."""
    advice = []
    if counts["unsure"]:
        advice.append(
            "Unsure says nothing either way: get the original file, and read what it says with `changeling inspect`."
        )
    if counts["missing"]:
        advice.append("Missing: check the spelling of the path, and put quotes around one that contains spaces.")
    return advice


def build_table(verdicts: Iterable[Verdict]) -> Table:
    """Return a table of verdicts for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("probability", justify="right")
    table.add_column("label")
    table.add_column("path", overflow="fold")
    table.add_column("", style="dim", overflow="fold")
    for verdict in verdicts:
        label = verdict.label or verdict.status
        colour = COLOURS.get(label, "magenta")
        label_and_reason = f"{label}: {verdict.reason}" if verdict.reason else label
        evidence = summarize(verdict.evidence) if isinstance(verdict, VerdictWithEvidence) else ""
        table.add_row(
            _format_probability(verdict),
            f"[{colour}]{label_and_reason}[/]",
            escape(escape_unprintable(verdict.path)),
            escape(escape_unprintable(verdict.error or evidence)),
        )
    return table


def print_table(table: Table, file: TextIO) -> None:
    """Print a table; if it is not for a terminal, at its own width, so that paths are not broken."""
    from rich.console import Console

    Console(file=file, highlight=False, width=None if file.isatty() else MAX_TABLE_WIDTH).print(table)


def escape_unprintable(text: str) -> str:
    """Return text for any terminal and any UTF-8 file: control characters and bytes that are not UTF-8 are escaped."""
    text = _escape_bytes(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _format_probability(verdict: Verdict) -> str:
    """Return the probability as text, with its range over deliveries where there is one."""
    if verdict.probability is None:
        return ""
    if verdict.lowest is None:
        return f"{verdict.probability:.3f}"
    return f"{verdict.probability:.3f} ({verdict.lowest:.3f} to {verdict.highest:.3f})"


def _count_verdicts(verdicts: Iterable[Verdict], counts: Counter[str]) -> Iterator[Verdict]:
    """Yield the verdicts and count them by label, or by status where there is no label."""
    for verdict in verdicts:
        counts[verdict.label or verdict.status] += 1
        yield verdict


def _write_table(verdicts: Iterable[Verdict], file: TextIO) -> None:
    print_table(build_table(verdicts), file)


def _write_json(verdicts: Iterable[Verdict], file: TextIO) -> None:
    """Write one JSON list, an object a line, as the verdicts come."""
    separator = "[\n"
    for verdict in verdicts:
        file.write(separator + _encode_json(verdict))
        file.flush()
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_jsonl(verdicts: Iterable[Verdict], file: TextIO) -> None:
    """Write one JSON object a line, as the verdicts come."""
    for verdict in verdicts:
        file.write(_encode_json(verdict) + "\n")
        file.flush()


def _write_csv(verdicts: Iterable[Verdict], file: TextIO) -> None:
    writer = csv.writer(file)
    has_header = False
    for verdict in verdicts:
        row = asdict(verdict) | {"path": _escape_bytes(verdict.path), "error": _escape_bytes(verdict.error or "")}
        if not has_header:
            writer.writerow(row)
            has_header = True
        writer.writerow(row.values())
    if not has_header:
        writer.writerow(FIELDS)


def _write_parquet(verdicts: Iterable[Verdict], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = dict.fromkeys(("probability", "lowest", "highest"), pa.float64())
    rows = [asdict(verdict) | {"path": _escape_bytes(verdict.path)} for verdict in verdicts]
    schema = pa.schema([(name, types.get(name, pa.string())) for name in (rows[0] if rows else FIELDS)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


_TEXT_WRITERS: dict[VerdictFormat, Callable[[Iterable[Verdict], TextIO], None]] = {
    VerdictFormat.TABLE: _write_table,
    VerdictFormat.JSON: _write_json,
    VerdictFormat.JSONL: _write_jsonl,
    VerdictFormat.CSV: _write_csv,
}


def _encode_json(verdict: Verdict) -> str:
    """Return a verdict as ASCII: bytes of a path that are not UTF-8 become lone surrogates, as `os.fsdecode` does."""
    return json.dumps(asdict(verdict))


def _escape_bytes(text: str) -> str:
    r"""Return text that UTF-8 can encode: bytes that are not UTF-8 become `\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
