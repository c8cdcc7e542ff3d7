"""The differences between each pair of detectors, both ways round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changeling.report.leaderboard.cells import EstimateCell, choose_difference_scale, make_cell
from changeling.results.result import Column, Estimate, Table


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of a pair: the first detector minus the second.

    Attributes:
        sign: 1 if the whole interval is above zero, -1 if it is below, else 0.
    """

    label: str
    cell: EstimateCell
    sign: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two detectors and the differences between them."""

    number: int
    first: str
    second: str
    differences: tuple[Difference, ...]

    @property
    def main(self) -> Difference:
        """The difference that the table of pairs shows: of the first metric that both detectors have."""
        return self.differences[0]

    @property
    def finding(self) -> str:
        """What the main difference says, in a sentence."""
        if self.main.sign == 0:
            return f"{self.main.label}: the interval contains zero, so these images cannot tell which one is better."
        better, worse = (self.first, self.second) if self.main.sign > 0 else (self.second, self.first)
        return f"{self.main.label}: {better} is better than {worse}; the interval does not contain zero."


def list_detectors(table: Table) -> list[str]:
    """Return the detectors of a table of differences, in order of first appearance."""
    return [*dict.fromkeys(row.labels[name] for name in table.labels for row in table.rows)]


def list_pairs(table: Table) -> dict[tuple[str, str], Pair]:
    """Return the pairs of a table of differences, by the names of both detectors in both orders."""
    scale = choose_difference_scale(cell for row in table.rows for cell in row.cells.values())
    pairs: dict[tuple[str, str], Pair] = {}
    for row in table.rows:
        first, second = (row.labels[name] for name in table.labels)
        for names, sign in (((first, second), 1), ((second, first), -1)):
            differences = tuple(
                Difference(
                    f"{column.group.removesuffix(', difference')}, {column.label.lower()}",
                    make_cell(_turn(row.cells[column.key], sign), scale, 0.0),
                    sign * _find_sign(row.cells[column.key]),
                )
                for column in _order_columns(table.columns)
                if column.key in row.cells
            )
            if differences:
                pairs[names] = Pair(len(pairs), *names, differences)
    return pairs


def _order_columns(columns: Sequence[Column]) -> list[Column]:
    return sorted(columns, key=lambda column: not column.group.startswith("AUROC"))


def _turn(estimate: Estimate, sign: int) -> Estimate:
    """Return a difference as it is the other way round, if `sign` is -1."""
    if sign == 1:
        return estimate
    return estimate.model_copy(update={"value": -estimate.value, "low": -estimate.high, "high": -estimate.low})


def _find_sign(estimate: Estimate) -> int:
    return int(estimate.low > 0) - int(estimate.high < 0)
