"""The report's tables for other programs: one CSV file with every estimate, and a LaTeX file a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from changeling.files import escape_formula
from changeling.report.latex import HEAD, latex_table
from changeling.report.output import written
from changeling.results.folder import RESULTS
from changeling.results.result import Estimate, Result

CSV, LATEX = "tables.csv", "latex"


def remove_study_files(folder: Path, experiments: Iterable[str]) -> None:
    """Remove the results, tables and page of an earlier study, so that those of two are never mixed."""
    results = [folder / RESULTS / f"{name}.json" for name in experiments]
    tables = [path for path in (folder / LATEX).glob("*.tex") if path.read_bytes().startswith(HEAD.encode())]
    for path in (*results, *tables, folder / CSV, folder / "report" / "index.html"):
        path.unlink(missing_ok=True)


def write_exports(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write `folder/tables.csv` and `folder/latex/<table>.tex`; return their paths.

    Raises ReportError if one cannot be written.
    """
    return [write_tables_csv(results, folder / CSV), *write_latex(results, folder / LATEX)]


def write_tables_csv(results: Sequence[Result], path: Path) -> Path:
    """Write every estimate as a row: its table, a column for each name of a label, its column, its numbers.

    Shares are fractions of one, with all their digits; what is not there is empty. A text that a spreadsheet would
    take for a formula has a ' before it. Raises ReportError if the file cannot be written.
    """
    labels = dict.fromkeys(name for result in results for table in result.tables for name in table.labels)
    names = ["experiment", "table", *labels, "group", "column", *Estimate.model_fields]
    with (
        written(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for result in results:
            for table in result.tables:
                for row in table.rows:
                    for column in table.columns:
                        if column.key in row.cells:
                            texts = {
                                "experiment": result.experiment,
                                "table": table.key,
                                **row.labels,
                                "group": column.group,
                                "column": column.label,
                            }
                            cell = row.cells[column.key].model_dump()
                            writer.writerow({name: escape_formula(text) for name, text in texts.items()} | cell)
    return path


def write_latex(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write each table to a file of its own, to be \\input; return their paths, in order.

    Raises ReportError if a file cannot be written.
    """
    paths = []
    for result in results:
        for i, table in enumerate(result.tables):
            path = folder / f"{table.key}.tex"
            with written(path) as temporary:
                text = latex_table(table, "" if i else result.paper)
                temporary.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths
