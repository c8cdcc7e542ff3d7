"""Table 3 for backbones without a text tower: retrieval through a map from captions to images, and a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.experiments.recall import compute_recall_rows, list_recall_columns
from changeling.experiments.reporting import select_best_row, sort_by_generator
from changeling.experiments.selection import SPLIT_TITLES
from changeling.experiments.text_map import TextMap, check_captioned_parents, select_pairs, train_text_map
from changeling.features.store import Features
from changeling.results.format import format_count, format_interval, format_percent
from changeling.results.result import Row, Table

_TRAINED_ON = "Map trained on"  # the label that distinguishes the map from the control
_OWN, _SHUFFLED = "captions of the image", "captions of another image (control)"


def compute_mapped_rows(
    dataset: Dataset, features: Features, texts: NDArray[np.float32], seed: int
) -> tuple[list[Row], str]:
    """Train a map for a backbone, and the control; return the rows of both, and how the map was trained.

    Args:
        features: of all images (N, D).
        texts: features of all captions by a text encoder (G, E).
        seed: of the training and of the control.

    Raises:
        DatasetError: too few parents have captions.
    """
    check_captioned_parents(dataset, features.valid)
    train, validation = (select_pairs(dataset, features.valid, split) for split in ("train", "val"))
    text_map = train_text_map(texts, features.values, train, validation, seed)
    control = train_text_map(texts, features.values, train.shuffle(seed), validation.shuffle(seed), seed)
    rows = [
        *_compute_rows(dataset, features, texts, text_map, _OWN),
        *_compute_rows(dataset, features, texts, control, _SHUFFLED),
    ]
    penalties = " and ".join(f"{penalty:g}" for penalty in text_map.penalties)
    return rows, (
        f"{features.header.backbone}: the map was trained on the captions of {len(train.images):,} parents; chosen on "
        f"{len(validation.images):,} others: penalties {penalties}, {text_map.steps} steps, loss {text_map.loss:.2f} "
        f"(control {control.loss:.2f}, without any information {log(text_map.candidates):.2f})."
    )


def build_mapped_table(dataset: Dataset, rows: Sequence[Row], text_encoder: str) -> Table:
    """Return the table of all rows, without the columns that none of them has."""
    columns = [column for column in list_recall_columns(rows) if any(column.key in row.cells for row in rows)]
    return Table(
        key="mapped_retrieval",
        title="Caption retrieval from children, through a map from captions to images",
        labels=("Generator", "Backbone", _TRAINED_ON),
        columns=tuple(columns),
        rows=sort_by_generator(dataset, rows),
        note=f"For backbones without a text tower. The captions are encoded by {text_encoder}, and a linear map from "
        "there to the features of images is trained on the captions of the parents of the train split, never on "
        "children. The map of the control is trained in the same way, with the captions of each image exchanged for "
        "those of another one: its R@1 should be at chance, and the others there or below, because captions of "
        "one image are alike, so that the nearest few are of fewer clusters than in a random order.",
    )


def summarise_mapped_rows(rows: Sequence[Row]) -> str:
    """Return the finding of the map that is best on validation, beside chance and the control; "" without rows."""
    best = select_best_row([row for row in rows if row.labels[_TRAINED_ON] == _OWN], "cluster_1")
    if best is None:
        return ""
    row, features = best
    controls = [other for other in rows if other.labels == row.labels | {_TRAINED_ON: _SHUFFLED}]
    cell, control = row.cells["test_cluster_1"], controls[0].cells["test_cluster_1"]
    return (
        f"Through a map from captions to {features} the nearest of all captions of the test split is one of the "
        f"child's cluster for {format_percent(cell.value)} of {format_count(cell.images, 'child', 'children')} (95 % "
        f"interval {format_interval(cell)}); chance is {format_percent(cell.chance or 0.0)}, and a map trained on the "
        f"captions of other images reaches {format_percent(control.value)} ({format_interval(control)})."
    )


def _compute_rows(
    dataset: Dataset, features: Features, texts: NDArray[np.float32], text_map: TextMap, trained_on: str
) -> list[Row]:
    mapped = np.zeros((len(texts), len(text_map.weight)), np.float32)
    is_used = _find_captions_of(dataset, set(SPLIT_TITLES))
    mapped[is_used] = text_map.map_captions(texts[is_used])
    centred = replace(features, values=text_map.center_images(features.values))
    labels = {"Backbone": features.header.backbone, _TRAINED_ON: trained_on}
    return list(compute_recall_rows(dataset, centred, mapped, labels))


def _find_captions_of(dataset: Dataset, splits: set[str]) -> NDArray[np.int64]:
    """Return the rows of captions.parquet whose cluster is in one of some splits."""
    clusters = dataset.column("cluster_id")[np.isin(dataset.column("split"), list(splits))]
    return np.flatnonzero(np.isin(dataset.captions["cluster_id"].to_numpy(), clusters))
