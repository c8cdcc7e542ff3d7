"""Copies of a file among images to import: one cluster, in one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from changeling.datasets.messages import Note, format_count, format_examples
from changeling.datasets.schema import ImageRow, Split

_ORDER: dict[Split, int] = {"test": 0, "val": 1, "train": 2}  # the split that keeps a file which several have


def join_identical_files(rows: Sequence[ImageRow], note: Note) -> list[ImageRow]:
    """Return the rows with the copies of a file in one cluster, without those that are also in another split.

    A file that is in several splits stays in test, or else in val; `note` is called with how many were left out.
    """
    first_rows: dict[str, ImageRow] = {}
    for row in sorted(rows, key=lambda row: _ORDER[row.split]):
        if row.sha256 is not None:
            first_rows.setdefault(row.sha256, row)
    joined, leaked = [], []
    for row in rows:
        first = first_rows.get(row.sha256, row) if row.sha256 is not None else row
        if row.split == first.split:
            joined.append(replace(row, cluster_id=first.cluster_id))
        else:
            leaked.append(row.image_id)
    if leaked:
        note(
            f"{format_count(len(leaked), 'image')} left out, because the same file is also in test or val "
            f"({format_examples(leaked)})"
        )
    return joined
