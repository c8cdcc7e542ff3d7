"""The report's tables for other programs: one CSV file with every estimate, and a LaTeX file a table."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from changeling.errors import ReportError
from changeling.experiments.result import Result, Table
from changeling.files import whole
from changeling.report.latex import latex_table

CSV, LATEX = "tables.csv", "latex"
_BEFORE = ("experiment", "table")
_AFTER = ("group", "column", "value", "low", "high", "clusters", "images", "paper")


def write_exports(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write `folder/tables.csv` and `folder/latex/<table>.tex`; return their paths.

    Raises ReportError if one cannot be written.
    """
    return [write_tables_csv(results, folder / CSV), *write_latex(results, folder / LATEX)]


def write_tables_csv(results: Sequence[Result], path: Path) -> Path:
    """Write every estimate as a row: its table, a column for each name of a label, its column, its numbers.

    Shares are fractions of one, with all their digits; what is not there is empty. Raises ReportError if the file
    cannot be written.
    """
    labels = list(dict.fromkeys(name for table in _tables(results) for name in table.labels))
    taken = {*_BEFORE, *_AFTER}
    try:
        with (
            whole(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow([*_BEFORE, *(f"label {name}" if name in taken else name for name in labels), *_AFTER])
            writer.writerows(_rows(results, labels))
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path


def write_latex(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write each table to a file of its own, to be \\input; return their paths, in order.

    Tables that share a key bear their experiment's name, too. Raises ReportError if a file cannot be written.
    """
    keys = [_name(table.key) for table in _tables(results)]
    written: list[Path] = []
    for result in results:
        for i, table in enumerate(result.tables):
            name = _name(table.key)
            if keys.count(name) > 1:
                name = f"{_name(result.experiment)}-{name}"
            path = folder / f"{name}.tex"
            again = 1
            while path in written:
                again += 1
                path = folder / f"{name}-{again}.tex"
            try:
                with whole(path) as temporary:
                    temporary.write_text(latex_table(table, path.stem, "" if i else result.paper), encoding="utf-8")
            except OSError as error:
                raise ReportError(f"{path}: cannot be written: {error.strerror or error}") from None
            written.append(path)
    return written


def _rows(results: Iterable[Result], labels: Sequence[str]) -> Iterator[list[str | int]]:
    for result in results:
        for table in result.tables:
            for row in table.rows:
                for column in table.columns:
                    cell = row.cells.get(column.key)
                    if cell is not None:
                        yield [
                            result.experiment,
                            table.key,
                            *(row.labels.get(name, "") if name in table.labels else "" for name in labels),
                            column.group,
                            column.label,
                            *(_number(value) for value in (cell.value, cell.low, cell.high)),
                            cell.clusters,
                            cell.images,
                            _number(cell.paper),
                        ]


def _tables(results: Iterable[Result]) -> list[Table]:
    return [table for result in results for table in result.tables]


def _number(value: float | None) -> str:
    return repr(float(value)) if value is not None and math.isfinite(value) else ""


def _name(key: str) -> str:
    """A key as the name of a file, and as a label of LaTeX."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", key).strip("-") or "table"
