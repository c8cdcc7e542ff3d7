"""The values that the paper reports, beside ours where the setting is the paper's."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from changeling.datasets.dataset import Dataset
from changeling.results.result import Table

SOURCE = "cocofake"  # what `import cocofake` writes in the column `source`
PARENTS = 5000  # in each of the Karpathy validation and test splits
CHILDREN = 5


def add_paper_values(table: Table, dataset: Dataset) -> Table:
    """Return the table with the paper's value in each cell whose dataset, generator and backbone are the paper's.

    The dataset is the paper's if it was imported as COCOFake and its validation and test splits are complete: 5,000
    parents each, and five children by the generator for each parent.
    """
    if set(dataset.column("source")) != {SOURCE}:
        return table
    complete = {name for name in set(dataset.column("generator")) - {None} if _is_complete(dataset, name)}
    paper_values = _load_values()
    rows = []
    for row in table.rows:
        key = f"{table.key}/{row.labels['Generator']}/{row.labels['Backbone']}"
        values = paper_values.get(key, {}) if row.labels["Generator"] in complete else {}
        cells = {name: cell.model_copy(update={"paper": values.get(name)}) for name, cell in row.cells.items()}
        rows.append(row.model_copy(update={"cells": cells}))
    return table.model_copy(update={"rows": tuple(rows)})


def _is_complete(dataset: Dataset, generator: str) -> bool:
    for split in ("val", "test"):
        mask = dataset.column("split") == split
        parents = mask & (dataset.labels == 0)
        children = mask & (dataset.column("generator") == generator)
        counts = np.bincount(dataset.clusters[children])
        if parents.sum() != PARENTS or (counts == CHILDREN).sum() != PARENTS:
            return False
    return True


@cache
def _load_values() -> dict[str, dict[str, float]]:
    """Return the shares by column, by "table/generator/backbone"."""
    text = files("changeling").joinpath("data/paper.json").read_text(encoding="utf-8")
    values: dict[str, dict[str, float]] = json.loads(text)["figures"]
    return values
