"""Where the columns of a table are drawn: the panel of each, its marker, and the text about chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changeling.report.tables.layout import split_group_titles
from changeling.report.tables.text import format_chance, is_finite, list_cells
from changeling.results.result import Column, Table

DASHES = (("dashed", (4, 3)), ("dotted", (1.5, 2.5)))  # of the lines of chance, from the lowest level


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker of a column: hollow or filled, round ("o") or square ("s"). `name` is its text in the legend."""

    name: str
    filled: bool
    shape: str


@dataclass(frozen=True, slots=True)
class _Placement:
    """The panel, the group and, if the panel has several, the kind of a column: "R@1", "Validation", "exact pair"."""

    panel: str
    group: str
    kind: str


def split_panels(table: Table) -> dict[str, list[Column]]:
    """Return the columns of each panel by its title: those that share a label.

    Columns without a value are left out, and shaded ones, which are a figure themselves.
    """
    placements = _place_columns(table)
    panels: dict[str, list[Column]] = {}
    for column in table.columns:
        if not column.shaded and any(is_finite(row.cells.get(column.key)) for row in table.rows):
            panels.setdefault(placements[column.key].panel, []).append(column)
    return panels


def choose_markers(table: Table) -> dict[str, Marker]:
    """Return the marker of each column: filled for the last group, hollow for the one before; kinds differ in shape."""
    placements = _place_columns(table)
    groups = list(dict.fromkeys(placement.group for placement in placements.values()))[::-1]
    kinds = list(dict.fromkeys(placement.kind for placement in placements.values()))
    return {
        key: Marker(
            name=", ".join(filter(None, (placement.group, placement.kind))),
            filled=groups.index(placement.group) % 2 == 0,
            shape="os"[(groups.index(placement.group) // 2 + kinds.index(placement.kind)) % 2],
        )
        for key, placement in placements.items()
    }


def describe_chance(table: Table, columns: Sequence[Column]) -> str:
    """Return the levels of chance as text; where they differ, each with its group, or with its kind."""
    with_chance = [column for column in columns if column.chance is not None]
    levels = list_chance_levels(columns)
    line_styles = {level: f" ({DASHES[i][0]})" for i, level in enumerate(levels)} if len(levels) <= len(DASHES) else {}
    texts = [format_chance(column.chance, 1) for column in sorted(with_chance, key=lambda column: column.chance or 0)]
    if len(set(texts)) == 1:
        return f"chance {texts[0]} %"
    placements = _place_columns(table)
    for attribute in ("group", "kind"):
        named = dict.fromkeys(
            (
                getattr(placements[column.key], attribute),
                f"{format_chance(column.chance, 1)} %{line_styles.get(column.chance or 0, '')}",
            )
            for column in with_chance
        )
        if len(named) == len({name for name, _ in named}):
            return "chance: " + ", ".join(f"{name} {text}" for name, text in named)
    return f"chance {texts[0]} to {texts[-1]} %"


def has_chance(table: Table) -> bool:
    """Return whether a table has a level of chance, of a column or of a single estimate."""
    levels = [column.chance for column in table.columns] + [cell.chance for cell in list_cells(table)]
    return any(level is not None for level in levels)


def list_chance_levels(columns: Sequence[Column]) -> list[float]:
    """Return the levels of chance of some columns, from the lowest."""
    return sorted({column.chance for column in columns if column.chance is not None})


def _place_columns(table: Table) -> dict[str, _Placement]:
    titles, placements = split_group_titles(table), {}
    for column in table.columns:
        above, own = titles[column.group]
        if not above:
            placements[column.key] = _Placement(column.label, own, "")
        elif len({titles[other.group][1] for other in table.columns if other.label == column.label}) > 1:
            placements[column.key] = _Placement(column.label, above, own)
        else:
            placements[column.key] = _Placement(f"{own}: {column.label}", above, "")
    return placements
