"""Results -> one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from changeling import __version__
from changeling.errors import ReportError
from changeling.experiments.result import Picture, Result, Sheet, Source
from changeling.files import whole
from changeling.report.figures import draw, marks
from changeling.report.tables import lay_out
from changeling.report.thumbnails import Thumbnail, make_thumbnail

ORDER = ("distances", "probe")  # the paper's order; other experiments follow by name
TITLE = "How generated images give themselves away"
HASH = 10  # characters of a hash that are shown; the rest is in its title

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture on a sheet."""

    picture: Picture
    thumbnail: Thumbnail
    alt: str


@dataclass(frozen=True, slots=True)
class _Fact:
    """A name and its value; `full` is what the value was before it was shortened."""

    name: str
    value: str
    full: str


@dataclass(frozen=True, slots=True)
class _Basis:
    """Facts that several experiments share."""

    experiments: str
    facts: tuple[_Fact, ...]


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

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = _percent
    template = environment.from_string(files(__package__).joinpath("template.html").read_text("utf-8"))
    html = template.render(
        title=title,
        results=results,
        lay_out=lay_out,
        draw=draw,
        marks=marks,
        tiles=tiles,
        sources=_sources(results),
        datasets=_shared(results, [result.dataset for result in results]),
        settings=_shared(results, [result.settings for result in results]),
        versions=_shared(results, [result.versions for result in results]),
        version=__version__,
    )
    return html.encode("utf-8", "backslashreplace")


def _place(experiment: str) -> int:
    return ORDER.index(experiment) if experiment in ORDER else len(ORDER)


def _tile(picture: Picture, root: Path) -> _Tile:
    what = {"parent": "Parent", "child": "Child", None: "Image"}[picture.role]
    alt = f"{what}: {picture.title}" if picture.title else what
    return _Tile(picture, make_thumbnail(root / picture.path), alt)


def _percent(share: float) -> str:
    """Print a probability so that it never claims to be certain: 0.9999 -> "> 99.9 %"."""
    if share > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _sources(results: Iterable[Result]) -> list[tuple[Source, str, str]]:
    """Every set of features that a number rests on, once, with short forms of its hashes."""
    sources = dict.fromkeys(source for result in results for source in result.sources)
    return [(source, _short(source.weights), _short(source.preprocessing)) for source in sources]


def _shared(results: Sequence[Result], values: Sequence[Mapping[str, Value]]) -> list[_Basis]:
    """Put together the experiments whose facts are the same."""
    bases: dict[tuple[_Fact, ...], list[str]] = {}
    for result, facts in zip(results, values, strict=True):
        if facts:
            bases.setdefault(tuple(_fact(*item) for item in facts.items()), []).append(result.title)
    everyone = len(bases) == 1 and len(next(iter(bases.values()))) == len(results)
    return [_Basis("" if everyone else ", ".join(titles), facts) for facts, titles in bases.items()]


def _fact(name: str, value: Value) -> _Fact:
    if value is None or isinstance(value, bool):
        full = {None: "none", True: "yes", False: "no"}[value]
    elif isinstance(value, int) and "seed" not in name:
        full = f"{value:,}"
    else:
        full = f"{value:.6g}" if isinstance(value, float) else str(value)
    return _Fact(name.replace("_", " "), _short(full), full)


def _short(value: str) -> str:
    """Shorten a hash; leave anything else as it is."""
    found = re.fullmatch(r"(?:[a-z0-9]+:)?([0-9a-f]{32,})", value)
    return f"{found[1][:HASH]}…" if found else value
