"""The leaderboard on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from changeling.evaluation.evaluation import Evaluation
from changeling.evaluation.results.tables import describe_name
from changeling.results.result import Column, Estimate, Table


def print_leaderboard(
    leaderboard: Table, evaluation: Evaluation, speed: Mapping[str, Mapping[str, float | None]]
) -> None:
    """Print a row for each detector: AUROCs, balanced accuracy on unchanged images, and seconds an image."""
    columns = _select_columns(leaderboard)
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left")
    shown.caption = (
        f"{len(evaluation.rows):,} images; per cent, with 95 % intervals over clusters\n"
        "balanced accuracy: an image that a detector calls unsure counts as incorrect"
    )
    shown.add_column("Detector", overflow="fold", min_width=15)
    for column in columns:
        header = "\n".join(f"{column.group} {column.label.lower()}".split())
        shown.add_column(header, justify="right", no_wrap=True)
    shown.add_column("s/image", justify="right", no_wrap=True)
    for detector in evaluation.detectors:
        name = describe_name(detector)
        cells = next(row.cells for row in leaderboard.rows if row.labels["Detector"] == name)
        seconds = [value for value in speed.get(detector.name, {}).values() if value is not None]
        texts = [_format_estimate(cells.get(column.key)) for column in columns]
        shown.add_row(name, *texts, f"{sum(seconds) / len(seconds):.3f}" if seconds else "")
    Console(highlight=False).print(shown)


def _select_columns(leaderboard: Table) -> list[Column]:
    """Return the columns for which a terminal has room: all AUROCs, and the first balanced accuracy."""
    groups = list(dict.fromkeys(column.group for column in leaderboard.columns))
    first, *others = ([column for column in leaderboard.columns if column.group == group] for group in groups)
    return [*first, *(columns[0] for columns in others)]


def _format_estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{100 * estimate.value:.1f}\n{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"
