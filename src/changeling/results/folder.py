"""A folder of results: a JSON file for each experiment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from changeling.errors import ReportError
from changeling.files import StrPath
from changeling.results.result import Result

RESULTS = "results"  # the folder's name in the output folder of a study


def load_results(folder: StrPath) -> list[Result]:
    """Read every Result in a folder, or in its `results` folder, in the order of `sort_results`.

    Raises ReportError if there is none, or if a file is not a Result.
    """
    path = Path(folder)
    paths = sorted((path / RESULTS if (path / RESULTS).is_dir() else path).glob("*.json"))
    if not paths:
        if path.is_file():
            raise ReportError(f"{folder} is a file; name the folder that `changeling study` wrote its results to")
        raise ReportError(f"{folder}: no results here; run `changeling study` first")
    return sort_results(Result.load(path) for path in paths)


def sort_results(results: Iterable[Result]) -> list[Result]:
    """Sort results as in a report: the paper's tables by number, its figures by experiment, then all others."""
    return sorted(results, key=_report_order)


def _report_order(result: Result) -> tuple[int, int, str]:
    table = re.match(r"Table (\d+)", result.paper)
    if table:
        return 0, int(table[1]), result.experiment
    return 1 if result.paper else 2, 0, result.experiment
