"""Formats the numbers and labels of results, for summaries, tables and captions."""

from __future__ import annotations

import re

from changeling.results.result import Estimate

ALL_LABEL = "all"  # the label of all generators together
P_VALUE_LABEL = "Holm-adjusted p"  # the label of the p-values of differences


def format_percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with one decimal: 0.1667 -> "16.7 %"."""
    return f"{100 * share:.1f} %"


def format_interval(estimate: Estimate) -> str:
    """Return the 95 % interval of a share: "12.5 % to 37.5 %"."""
    return f"{format_percent(estimate.low)} to {format_percent(estimate.high)}"


def format_count(number: int, singular: str, plural: str) -> str:
    """Return a number with its noun, in the singular or plural: "1 child", "5,000 children"."""
    return f"{number:,} {singular if number == 1 else plural}"


def format_label(label: str) -> str:
    """Return a label for readers: "all" and "all, clip-vit-b16" then begin with "all generators"."""
    return re.sub(rf"(^|: ){ALL_LABEL}(?=, |\Z)", rf"\1{ALL_LABEL} generators", label)
