"""The tables for other programs: one CSV file with every estimate, and a LaTeX file for each table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from changeling.files import escape_formula
from changeling.report.output import write_report_file
from changeling.report.tables.latex import AUTHOR_COMMENT, format_latex
from changeling.results.folder import RESULTS
from changeling.results.result import Estimate, Result, Table

CSV, LATEX = "tables.csv", "latex"


def remove_study_files(folder: Path, experiments: Iterable[str]) -> None:
    """Remove the results, the tables and the page of an earlier study, so that two studies are never mixed."""
    results = [folder / RESULTS / f"{name}.json" for name in experiments]
    tables = [path for path in (folder / LATEX).glob("*.tex") if path.read_bytes().startswith(AUTHOR_COMMENT.encode())]
    for path in (*results, *tables, folder / CSV, folder / "report" / "index.html"):
        path.unlink(missing_ok=True)


def remove_table_files(result: Result, folder: Path) -> None:
    """Remove the LaTeX files of a result, so that tables which the next one lacks are not taken for its own."""
    for table in result.tables:
        (folder / LATEX / f"{table.key}.tex").unlink(missing_ok=True)


def write_exports(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write `folder/tables.csv` and `folder/latex/<table>.tex`; return their paths.

    Raises:
        ReportError: a file cannot be written.
    """
    return [write_tables_csv(results, folder / CSV), *write_latex(results, folder / LATEX)]


def write_tables_csv(results: Sequence[Result], path: Path) -> Path:
    """Write a row for each estimate: its table, its labels, its column, and its numbers. Returns the path.

    Shares are fractions in [0, 1] with all their digits; missing values are empty. Texts that a spreadsheet would
    take for a formula are escaped with a '.

    Raises:
        ReportError: the file cannot be written.
    """
    with write_report_file(path) as temporary:
        temporary.write_bytes(format_tables_csv(results).encode("utf-8", "backslashreplace"))
    return path


def format_tables_csv(results: Sequence[Result]) -> str:
    """Return the text of the file that `write_tables_csv` writes."""
    labels = dict.fromkeys(name for result in results for table in result.tables for name in table.labels)
    names = ["experiment", "table", *labels, "group", "column", *Estimate.model_fields]
    file = StringIO(newline="")
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    for result in results:
        for table in result.tables:
            writer.writerows(_list_csv_rows(result.experiment, table))
    return file.getvalue()


def _list_csv_rows(experiment: str, table: Table) -> Iterator[dict[str, object]]:
    """Yield a row for each estimate of a table."""
    for row in table.rows:
        for column in table.columns:
            if column.key in row.cells:
                texts = {
                    "experiment": experiment,
                    "table": table.key,
                    **row.labels,
                    "group": column.group,
                    "column": column.label,
                }
                escaped = {name: escape_formula(text) for name, text in texts.items()}
                yield escaped | row.cells[column.key].model_dump()


def write_latex(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write each table to a file of its own, for \\input in a document; return the paths, in order.

    Raises:
        ReportError: a file cannot be written.
    """
    paths = []
    for result in results:
        for i, table in enumerate(result.tables):
            path = folder / f"{table.key}.tex"
            with write_report_file(path) as temporary:
                text = format_latex(table, "" if i else result.paper)
                temporary.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths
