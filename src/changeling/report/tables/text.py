"""The text of a table: shares as per cent, levels of chance, counts of clusters and images, and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from changeling.results.format import format_count
from changeling.results.result import Estimate, Table

FEW_CLUSTERS = 100  # below this number of clusters, a note warns that the intervals are wide
MANY_CLUSTERS = 1000  # from this number of clusters on, shares have a second decimal


def is_finite(cell: Estimate | None) -> bool:
    """Whether there is an estimate with a finite value."""
    return cell is not None and math.isfinite(cell.value)


def choose_decimals(table: Table) -> int:
    """Return 2, as in the paper, if every estimate rests on thousands of clusters, else 1."""
    return 2 if min((cell.clusters for cell in list_cells(table)), default=0) >= MANY_CLUSTERS else 1


def format_share(share: float, digits: int) -> str:
    """Return a share, or a difference of shares, as per cent without the sign: 0.1667 -> "16.67", -0.02 -> "−2.00"."""
    return f"{100 * share:z.{digits}f}".replace("-", "−")


def format_chance(chance: float | None, digits: int) -> str:
    """Return a level of chance as per cent, with its first non-zero digit at least; "" if there is none."""
    if chance is None:
        return ""
    return format_share(chance, digits) if chance >= 10.0 ** -(digits + 2) else f"{100 * chance:.1g}"


def format_sample_size(clusters: int, images: int) -> tuple[str, str]:
    """Return the numbers of clusters and images with their nouns: ("12 clusters", "72 images")."""
    return format_count(clusters, "cluster", "clusters"), format_count(images, "image", "images")


def format_range(numbers: Sequence[int]) -> str:
    """Return the smallest and the largest number: "12–1,400", or "12" if they are equal."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def format_small_sample_warning(table: Table) -> str:
    """Return a sentence if estimates rest on fewer than FEW_CLUSTERS clusters, else ""."""
    numbers = [cell.clusters for cell in list_cells(table)]
    low, high = min(numbers, default=FEW_CLUSTERS), max(numbers, default=FEW_CLUSTERS)
    if low >= FEW_CLUSTERS:
        return ""
    clusters = format_count(low, "cluster", "clusters")
    if low == high:
        return f"All estimates rest on only {clusters}; interpret the intervals rather than the values."
    return f"Some estimates rest on only {clusters}; interpret the intervals rather than the values."


def format_paper_agreement(table: Table) -> str:
    """Return a sentence with how many estimates agree with the paper's values; "" if the paper has none."""
    verdicts = [cell.verdict for cell in list_cells(table)]
    agreeing, differing, unclear = (verdicts.count(verdict) for verdict in ("agrees", "differs", "cannot tell"))
    if not agreeing + differing + unclear:
        return ""
    compared = format_count(agreeing + differing + unclear, "value", "values")
    return (
        f"Compared with the paper ({compared}): {agreeing:,} × agrees, "
        f"{differing:,} × differs, {unclear:,} × cannot tell."
    )


def list_cells(table: Table) -> list[Estimate]:
    """Return all estimates of a table, row by row."""
    return [cell for row in table.rows for cell in row.cells.values()]
