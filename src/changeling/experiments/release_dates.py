"""When generators were released, for experiments in chronological order."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.resources import files


def find_release_dates(generators: Iterable[str], given: Mapping[str, date]) -> dict[str, date]:
    """Return the release dates of generators, for those that have one, from the oldest to the newest.

    Args:
        given: dates by name, which override those in `data/release_dates.toml`. Case is ignored in both.
    """
    known = _read_dates() | {name.casefold(): day for name, day in given.items()}
    found = {name: known[name.casefold()] for name in generators if name.casefold() in known}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def _read_dates() -> dict[str, date]:
    dates: dict[str, date] = tomllib.loads(
        files("changeling").joinpath("data", "release_dates.toml").read_text("utf-8")
    )
    return dates
