"""Results -> one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from changeling import __version__
from changeling.errors import ReportError
from changeling.experiments.result import Picture, Result, Sheet
from changeling.files import whole
from changeling.report.figures import draw, marks
from changeling.report.maps import draw_map, legend
from changeling.report.methods import tell
from changeling.report.plots import families
from changeling.report.style import colour
from changeling.report.tables import lay_out
from changeling.report.thumbnails import Thumbnail, make_thumbnail

# the paper's order; other experiments follow by name
ORDER = ("distances", "probe", "retrieval", "disentangle", "embedding", "gallery")
TITLE = "How generated images give themselves away"


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture on a sheet."""

    picture: Picture
    thumbnail: Thumbnail
    alt: str


def load_results(folder: Path) -> list[Result]:
    """Read every Result in a folder, in the paper's order. Raises ReportError if there is none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ReportError(f"{folder}: no results here; run `changeling study` first")
    results = [Result.load(path) for path in paths]
    return sorted(results, key=lambda result: (_place(result.experiment), result.experiment))


def write_report(results: Sequence[Result], output: Path, *, root: Path | None = None, title: str = TITLE) -> Path:
    """Write the page to `output`, whole or not at all, and return its path.

    `root` is the folder that the paths of pictures are relative to. A picture that cannot be shown becomes an empty
    frame. The same results and pictures give the same bytes. Raises ReportError if the page cannot be written.
    """
    page = _render(results, root or Path(), title)
    try:
        with whole(output) as temporary:
            temporary.write_bytes(page)
    except OSError as error:
        raise ReportError(f"{output}: cannot be written: {error.strerror or error}") from None
    return output


def _render(results: Sequence[Result], root: Path, title: str) -> bytes:
    """Fill in the template. Halves of surrogate pairs, as in paths that are not UTF-8, are spelled out."""

    def tiles(sheet: Sheet) -> list[tuple[str, str, list[_Tile]]]:
        return [(s.title, s.caption, [_tile(p, root) for p in s.pictures]) for s in sheet.strips]

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: files(__package__).joinpath(name).read_text("utf-8")),
    )
    environment.filters["percent"] = _percent
    environment.globals |= {
        "lay_out": lay_out, "draw": draw, "marks": marks, "families": families, "draw_map": draw_map,
        "legend": legend, "colour": colour, "signs": _signs, "tiles": tiles,
    }  # fmt: skip
    html = environment.get_template("template.html").render(
        title=title, results=results, methods=tell(results), version=__version__
    )
    return html.encode("utf-8", "backslashreplace")


def _place(experiment: str) -> int:
    return ORDER.index(experiment) if experiment in ORDER else len(ORDER)


def _tile(picture: Picture, root: Path) -> _Tile:
    what = {"parent": "Parent", "child": "Child", None: "Image"}[picture.role]
    alt = f"{what}: {picture.title}" if picture.title else what
    return _Tile(picture, make_thumbnail(root / picture.path), alt)


def _signs(sheet: Sheet) -> set[str]:
    """What the frames and words of a sheet's pictures say, for its legend."""
    pictures = [picture for strip in sheet.strips for picture in strip.pictures]
    signs: set[str | None] = {value for picture in pictures for value in (picture.role, picture.label)}
    if any(picture.probability is not None for picture in pictures):
        signs.add("probability")
    return {sign for sign in signs if sign}


def _percent(share: float) -> str:
    """Print a probability so that it never claims to be certain: 0.9999 -> "> 99.9 %"."""
    if share > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
