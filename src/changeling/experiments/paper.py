"""The values that the paper reports, beside ours where they are comparable, and the reasons where they are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import numpy as np

from changeling.backbones.registry import ALIASES
from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context, Settings
from changeling.experiments.selection import SPLIT_TITLES
from changeling.results.format import format_label
from changeling.results.result import Estimate, Table
from changeling.stats.intervals import clopper_pearson

PARENTS = 5000  # in each of the Karpathy validation and test splits
CHILDREN = 5
TRAINING_GENERATOR = "stable-diffusion-v1.4"  # of the probes of Table 2
MAX_MISSING = 0.01  # share of the paper's validation and test images


def add_paper_values(table: Table, context: Context, settings: Settings, paper_settings: Settings) -> Table:
    """Return the table with the paper's values, if the study asks for them (`[reference] paper = true`).

    A cell has one if the settings are the paper's, the paper has the generator and the backbone, and at most 1 % of
    the paper's images of both splits are missing. Otherwise the note of the table says why there is none.
    """
    if not context.compare_with_paper:
        return table
    differences = list(_list_differences(settings, paper_settings))
    if differences:
        return _add_note(table, [f"The paper's values are not shown, because the settings differ: {differences[0]}"])
    paper_values, rows, reasons = _load_values(), [], []
    dataset_reasons = {name: _compare_images(context.dataset, name) for name in _list_labels(table, "Generator")}
    for row in table.rows:
        labels = row.labels | {"Backbone": _find_alias(row.labels["Backbone"])}
        generator, backbone = labels["Generator"], labels["Backbone"]
        is_comparable, reason = dataset_reasons[generator]
        key = "/".join([table.key, *(labels[name] for name in table.labels)])
        values = paper_values.get(key, {}) if is_comparable else {}
        if is_comparable and not _has_values(table.key, generator, backbone):
            reasons.append(f"{format_label(generator)}, {row.labels['Backbone']}: the paper has no values")
        elif reason:
            reasons.append(reason)
        cells = {name: _add_value(cell, values[name]) if name in values else cell for name, cell in row.cells.items()}
        rows.append(row.model_copy(update={"cells": cells}))
    return _add_note(table.model_copy(update={"rows": tuple(rows)}), [f"{text}." for text in dict.fromkeys(reasons)])


def _add_value(cell: Estimate, value: float) -> Estimate:
    """Return an estimate with the paper's value and an exact interval of it.

    The paper gives no interval. This one is that of a share of its 5,000 clusters; for a share of images it is as wide
    as if the images of a cluster were right and wrong together (the largest design effect), so rather too wide.
    """
    low, high = clopper_pearson(value * PARENTS, PARENTS)
    return cell.model_copy(update={"paper": value, "paper_low": low, "paper_high": high})


def _list_differences(settings: Settings, paper_settings: Settings) -> Iterator[str]:
    """Yield a sentence with all settings that differ from the paper's; nothing if none does."""
    names = [name for name in type(settings).model_fields if getattr(settings, name) != getattr(paper_settings, name)]
    if names:
        ours, theirs = (
            ", ".join(f"{name} = {getattr(some, name)}" for name in names) for some in (settings, paper_settings)
        )
        yield f"{ours}; comparable are {theirs}."


def _compare_images(dataset: Dataset, generator: str) -> tuple[bool, str]:
    """Return whether the images of a generator are comparable with the paper's, and what there is to say about them."""
    if generator not in {key.split("/")[1] for key in _load_values()}:
        return False, f"{format_label(generator)}: not a generator of the paper"
    missing = 0
    for split, title in SPLIT_TITLES.items():
        mask = (dataset.column("split") == split) & (dataset.column("status") == "ok")
        parents = int((mask & (dataset.labels == 0)).sum())
        counts = np.bincount(dataset.clusters[mask & (dataset.column("generator") == generator)])
        lacking = (1 + CHILDREN) * PARENTS - parents - int(counts.sum())
        if lacking > MAX_MISSING * (1 + CHILDREN) * PARENTS or parents > PARENTS or (counts > CHILDREN).any():
            return False, (
                f"{generator}: not comparable with the paper, because the {title.lower()} split has {parents:,} "
                f"parents and {int(counts.sum()):,} children, not {PARENTS:,} and {CHILDREN * PARENTS:,}"
            )
        missing += lacking
    if not missing:
        return True, ""
    total = len(SPLIT_TITLES) * (1 + CHILDREN) * PARENTS
    return True, f"{generator}: {missing:,} of the paper's {total:,} images are missing ({100 * missing / total:.3f} %)"


def _find_alias(backbone: str) -> str:
    """Return the alias of a backbone that is named by its id; otherwise the name itself."""
    aliases = {alias.model: name for name, alias in ALIASES.items() if isinstance(alias.model, str)}
    return aliases.get(backbone, backbone)


def _has_values(table: str, generator: str, backbone: str) -> bool:
    """Return whether the paper has values of a generator and backbone in a table."""
    return any(f"{key}/".startswith(f"{table}/{generator}/{backbone}/") for key in _load_values())


def _list_labels(table: Table, label: str) -> list[str]:
    return list(dict.fromkeys(row.labels[label] for row in table.rows))


def _add_note(table: Table, sentences: list[str]) -> Table:
    return table.model_copy(update={"note": " ".join(filter(None, [table.note, *sentences]))})


@cache
def _load_values() -> dict[str, dict[str, float]]:
    """Return the shares by column, by "table/generator/backbone"; in Table 4 with "/S" or "/T" after it."""
    text = files("changeling").joinpath("data/paper.json").read_text(encoding="utf-8")
    values: dict[str, dict[str, float]] = json.loads(text)["figures"]
    return values
