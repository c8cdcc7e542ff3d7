"""The cells of the leaderboard: an estimate as text, and its interval as a bar."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from changeling.report.tables.text import format_share, is_finite
from changeling.results.result import Estimate

DECIMALS = 1  # of per cent


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of numbers that the width of a bar stands for, from `low` to `high`."""

    low: float
    high: float

    def place(self, number: float) -> float:
        """Return where a number lies on the bar, in per cent of its width."""
        share = (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)
        return round(100 * share, 2)


@dataclass(frozen=True, slots=True)
class Bar:
    """The places of a bar's parts, in per cent of its width; `reference` is the level of chance, or zero."""

    value: float
    low: float
    high: float
    reference: float | None


@dataclass(frozen=True, slots=True)
class EstimateCell:
    """An estimate in a table that can be sorted.

    Attributes:
        sort_key: its value with all digits; empty if there is no estimate.
        value: as text, in per cent.
        interval: as text; empty if an end is not finite.
        is_best: whether no other value in the same row or column is better.
    """

    sort_key: str = ""
    value: str = "–"
    interval: str = ""
    bar: Bar | None = None
    is_best: bool = False


def choose_scale(estimates: Iterable[Estimate | None], chance: float | None) -> Scale:
    """Return a scale from chance, or from further below if an interval reaches there, to 100 %."""
    lows = [estimate.low for estimate in estimates if estimate is not None and math.isfinite(estimate.low)]
    lowest = min([1.0 if chance is None else chance, *lows])
    return Scale(min(math.floor(10 * lowest) / 10, 0.9), 1.0)


def choose_difference_scale(estimates: Iterable[Estimate | None]) -> Scale:
    """Return a scale with zero in its middle, as wide as the widest interval."""
    ends = [abs(end) for each in estimates if each is not None for end in (each.low, each.high) if math.isfinite(end)]
    widest = max([0.05, *ends])
    return Scale(-widest, widest)


def make_cell(
    estimate: Estimate | None, scale: Scale, reference: float | None, *, is_best: bool = False
) -> EstimateCell:
    """Return the cell of an estimate, or an empty one."""
    if estimate is None or not is_finite(estimate):
        return EstimateCell()
    has_interval = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    low, high = (estimate.low, estimate.high) if has_interval else (estimate.value, estimate.value)
    bar = Bar(
        scale.place(estimate.value),
        scale.place(low),
        scale.place(high),
        None if reference is None else scale.place(reference),
    )
    texts = [format_share(number, DECIMALS) for number in (estimate.value, low, high)]
    separator = " to " if texts[1].startswith("−") else "–"
    interval = f"{texts[1]}{separator}{texts[2]}" if has_interval else ""
    return EstimateCell(repr(estimate.value), texts[0], interval, bar, is_best)
