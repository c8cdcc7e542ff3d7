"""Print an explanation: a grid of contributions and a list of training images, or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from changeling.detect.explanation.contributions import Cell, Contributions
from changeling.detect.explanation.explain import Explanation
from changeling.detect.neighbours import Neighbour
from changeling.detect.output import escape_unprintable

if TYPE_CHECKING:
    from rich.table import Table

FAKE_COLOUR, REAL_COLOUR = "red", "blue"
COPY_DISTANCE = 0.005  # a copy of a training image is nearer: 120 numbers of 8 bits for each are rounded


def write_json(explanation: Explanation, file: TextIO) -> None:
    """Write an explanation as one JSON object; log-odds have all their digits, so that they add up."""
    file.write(json.dumps(asdict(explanation), indent=1) + "\n")


def write_text(explanation: Explanation, file: TextIO) -> None:
    """Write an explanation for a terminal."""
    from rich.console import Console

    console = Console(file=file, highlight=False, soft_wrap=True)
    console.print(f"{escape_unprintable(explanation.path)}", style="bold", markup=False)
    console.print("\nWhere the score comes from, in log-odds: + toward fake, - toward real, ~ within noise\n")
    console.print(_build_grid(explanation.contributions))
    for line in describe_contributions(explanation):
        console.print(line)
    console.print()
    if explanation.nearest is None:
        console.print(f"The detector {explanation.model} does not store its training images; train it again.")
        return
    console.print("The most similar training images (cosine distance of features; 0: the same)\n")
    console.print(_build_neighbour_table(explanation.nearest))
    console.print("\nTheir labels are weak evidence: what looks alike can be real or generated.")
    for sentence in _describe_distance(explanation):
        console.print(sentence)


def describe_contributions(explanation: Explanation) -> list[str]:
    """Return sentences on how the contributions add up, how noisy they are, and what they cost."""
    contributions = explanation.contributions
    total = sum(cell.contribution for cell in contributions.cells)
    margin = max(cell.margin for cell in contributions.cells)
    return [
        f"blurred picture {contributions.blurred_score:+.2f}, cells {total:+.2f}, score {contributions.score:+.2f}: "
        f"probability {explanation.probability:.3f} of being generated",
        f"largest margin of a cell {margin:.2f} (95 %); {contributions.passes} passes through the backbone",
    ]


def _describe_distance(explanation: Explanation) -> list[str]:
    """Return what the distance of the nearest training image says about the verdict."""
    if explanation.nearest and explanation.nearest[0].distance < COPY_DISTANCE:
        return [
            "The nearest is probably this picture or a copy of it: the detector was trained on it, so this verdict "
            "does not show how well it does on other pictures."
        ]
    if explanation.distance_rank is None:
        return []
    return [
        f"{100 * explanation.distance_rank:.0f} % of the training images have a nearer image of another source. The "
        "higher this share, the less the detector knows pictures like this one."
    ]


def format_cell(cell: Cell) -> str:
    """Return a contribution with its sign; ~ marks noise."""
    return f"{'~' if cell.is_noise else ''}{cell.contribution:+.2f}"


def _build_grid(contributions: Contributions) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    rows = contributions.rows
    for _ in range(rows):
        table.add_column(justify="right", min_width=6)
    for start in range(0, rows * rows, rows):
        table.add_row(*(_colour_cell(cell) for cell in contributions.cells[start : start + rows]))
    return table


def _colour_cell(cell: Cell) -> str:
    colour = FAKE_COLOUR if cell.contribution > 0 else REAL_COLOUR
    return f"[{'dim' if cell.is_noise else colour}]{format_cell(cell)}[/]"


def _build_neighbour_table(nearest: tuple[Neighbour, ...]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("distance", "label", "source", "generator"):
        table.add_column(name, overflow="fold")
    for neighbour in nearest:
        names = (escape(escape_unprintable(name)) for name in (neighbour.source, neighbour.generator or ""))
        table.add_row(f"{neighbour.distance:.3f}", neighbour.label, *names)
    return table
