"""Results -> one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from changeling import __version__
from changeling.report.figures import draw, marks
from changeling.report.maps import draw_map, legend
from changeling.report.methods import tell
from changeling.report.output import written
from changeling.report.plots import families
from changeling.report.style import colour
from changeling.report.tables import lay_out
from changeling.report.thumbnails import Thumbnail, make_thumbnail
from changeling.results.format import format_label
from changeling.results.result import Picture, Result, Sheet

TITLE = "How generated images give themselves away"


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture on a sheet."""

    picture: Picture
    thumbnail: Thumbnail
    alt: str


def write_report(results: Sequence[Result], output: Path) -> Path:
    """Write the page to `output`, whole or not at all, and return its path.

    A picture that cannot be shown becomes an empty frame. The same results and pictures give the same bytes. Raises
    ReportError if the page cannot be written.
    """
    page = _render(results)
    with written(output) as temporary:
        temporary.write_bytes(page)
    return output


def _render(results: Sequence[Result]) -> bytes:
    """Fill in the template. Halves of surrogate pairs, as in paths that are not UTF-8, are spelled out."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader(__package__, ""),
    )
    environment.filters |= {"percent": _percent, "label": format_label, "coded": _coded}
    environment.globals |= {
        "lay_out": lay_out, "draw": draw, "marks": marks, "families": families, "draw_map": draw_map,
        "legend": legend, "colour": colour, "signs": _signs, "tile": _tile,
    }  # fmt: skip
    html = environment.get_template("template.html").render(
        title=TITLE, results=results, methods=tell(results), version=__version__
    )
    return html.encode("utf-8", "backslashreplace")


def _tile(picture: Picture) -> _Tile:
    what = {"parent": "Parent", "child": "Child", None: "Image"}[picture.role]
    alt = f"{what}: {picture.title}" if picture.title else what
    return _Tile(picture, make_thumbnail(Path(picture.path)), alt)


def _signs(sheet: Sheet) -> set[str]:
    """What the frames and words of a sheet's pictures say, for its legend."""
    pictures = [picture for strip in sheet.strips for picture in strip.pictures]
    signs: set[str | None] = {value for picture in pictures for value in (picture.role, picture.label)}
    if any(picture.probability is not None for picture in pictures):
        signs.add("probability")
    return {sign for sign in signs if sign}


def _coded(text: str) -> Markup:
    """A sentence with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped before)


def _percent(share: float) -> str:
    """Print a probability so that it never claims to be certain: 0.9999 -> "> 99.9 %"."""
    if share > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
