"""The report as one self-contained HTML page: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from changeling import __version__
from changeling.report.figures.columns import choose_markers, has_chance
from changeling.report.figures.dot_plots import draw_dot_plots
from changeling.report.figures.line_plots import draw_line_plots
from changeling.report.figures.maps import build_legend, draw_map
from changeling.report.figures.style import format_css_colour
from changeling.report.methods import describe_methods
from changeling.report.output import write_report_file
from changeling.report.tables.layout import lay_out
from changeling.report.thumbnails import Thumbnail, make_thumbnail
from changeling.results.format import format_label
from changeling.results.result import Picture, Result, Sheet, Table

MAX_OPEN_ROWS = 60  # a longer table is a list of details
TITLE = "How generated images differ from real ones"


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture on a contact sheet."""

    picture: Picture
    thumbnail: Thumbnail
    alt: str


def write_report(results: Sequence[Result], output: Path, links: Mapping[str, str] | None = None) -> Path:
    """Write the page to `output` atomically and return its path. The same results and pictures give the same bytes.

    A picture that cannot be read becomes an empty frame with its error.

    Args:
        links: other reports that the page links to below its findings: the text of each link, and its address.

    Raises:
        ReportError: the page cannot be written.
    """
    page = _render(results, links or {})
    with write_report_file(output) as temporary:
        temporary.write_bytes(page)
    return output


def _render(results: Sequence[Result], links: Mapping[str, str]) -> bytes:
    """Return the page as UTF-8. Lone surrogates, as in paths that are not UTF-8, are escaped."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader(__package__, ""),
    )
    environment.filters |= {"probability": _format_probability, "label": format_label, "code": _mark_up_code}
    environment.globals |= {
        "build_legend": build_legend,
        "build_tile": _build_tile,
        "choose_markers": choose_markers,
        "draw_dot_plots": draw_dot_plots,
        "draw_line_plots": draw_line_plots,
        "draw_map": draw_map,
        "find_sheet_keys": _find_sheet_keys,
        "format_css_colour": format_css_colour,
        "has_chance": has_chance,
        "has_many_rows": _has_many_rows,
        "lay_out": lay_out,
    }
    html = environment.get_template("template.html").render(
        title=TITLE, results=results, links=links, methods=describe_methods(results), version=__version__
    )
    return html.encode("utf-8", "backslashreplace")


def _build_tile(picture: Picture) -> _Tile:
    kind = {"parent": "Parent", "child": "Child", None: "Image"}[picture.role]
    alt = f"{kind}: {picture.title}" if picture.title else kind
    return _Tile(picture, make_thumbnail(Path(picture.path)), alt)


def _has_many_rows(table: Table) -> bool:
    """Return whether a table is folded, and has no dot plots."""
    return len(table.rows) > MAX_OPEN_ROWS


def _find_sheet_keys(sheet: Sheet) -> set[str]:
    """Return the roles and labels of a sheet's pictures, and "probability" if they have one, for the legend."""
    pictures = [picture for strip in sheet.strips for picture in strip.pictures]
    keys: set[str | None] = {value for picture in pictures for value in (picture.role, picture.label)}
    if any(picture.probability is not None for picture in pictures):
        keys.add("probability")
    return {key for key in keys if key}


def _mark_up_code(text: str) -> Markup:
    """Return text as HTML: the parts between backticks as code, and no line break before a sign of per cent."""
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped before)


def _format_probability(probability: float) -> str:
    """Return a probability as per cent, but never as 0 or 100 %: 0.9999 -> "> 99.9 %"."""
    if probability > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"
