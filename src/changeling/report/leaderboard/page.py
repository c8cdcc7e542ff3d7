"""The leaderboard as one self-contained HTML page: no network, and without a script all but the sorting."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from changeling import __version__
from changeling.errors import ReportError
from changeling.report.exports import format_tables_csv
from changeling.report.leaderboard.boards import make_board, pivot_table
from changeling.report.leaderboard.pairs import list_detectors, list_pairs
from changeling.report.output import write_report_file
from changeling.report.tables.latex import format_latex
from changeling.report.thumbnails import Thumbnail, make_thumbnail
from changeling.results.result import Picture, Result, Sheet, Table

FILE_NAME = "leaderboard.html"
_LEADERBOARD, _METRICS, _DIFFERENCES = "leaderboard", "detector_metrics", "detector_differences"
_BREAKDOWNS = ("windows", "subsets", "by_generator", "by_source")


def write_leaderboard(result: Result, output: Path, sheets: Sequence[Sheet] = ()) -> Path:
    """Write the page of an evaluation to `output` atomically and return its path. The same Result gives the same bytes.

    Args:
        result: of `changeling evaluate`.
        sheets: the pictures to show.

    Raises:
        ReportError: the Result has no leaderboard, or the page cannot be written.
    """
    tables = {table.key: table for table in result.tables}
    if _LEADERBOARD not in tables:
        raise ReportError(f"the result {result.experiment} has no leaderboard; run `changeling evaluate` first")
    page = _render(result, tables, sheets)
    with write_report_file(output) as temporary:
        temporary.write_bytes(page)
    return output


def _render(result: Result, tables: Mapping[str, Table], sheets: Sequence[Sheet]) -> bytes:
    """Return the page as UTF-8. Lone surrogates, as in paths that are not UTF-8, are escaped."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("changeling.report", ""),
    )

    differences = tables.get(_DIFFERENCES)
    html = environment.get_template("leaderboard/template.html").render(
        result=result,
        leaderboard=make_board(tables[_LEADERBOARD]),
        metrics=make_board(tables[_METRICS]) if _METRICS in tables else None,
        breakdowns=[(tables[key], pivot_table(tables[key])) for key in _BREAKDOWNS if key in tables],
        notes={key: table.note for key, table in tables.items()},
        detectors=list_detectors(differences) if differences else [],
        pairs=list_pairs(differences) if differences else {},
        sheets=sheets,
        make_thumbnail=_make_thumbnail,
        downloads=_make_downloads(result),
        version=__version__,
    )
    return html.encode("utf-8", "backslashreplace")


def _make_thumbnail(picture: Picture) -> Thumbnail:
    return make_thumbnail(Path(picture.path))


def _make_downloads(result: Result) -> Sequence[tuple[str, str, str]]:
    """Return the text, the file name and the address of each download; the addresses hold the files."""
    latex = "\n".join(format_latex(table) for table in result.tables)
    return (
        ("All tables as CSV", "leaderboard.csv", _make_data_uri("text/csv", format_tables_csv([result]))),
        ("All tables as LaTeX", "leaderboard.tex", _make_data_uri("application/x-tex", latex)),
    )


def _make_data_uri(media_type: str, text: str) -> str:
    data = base64.b64encode(text.encode("utf-8", "backslashreplace")).decode("ascii")
    return f"data:{media_type};charset=utf-8;base64,{data}"
