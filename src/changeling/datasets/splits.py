"""The splits of a dataset: drawn with given shares, and described where they are too small to say much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from changeling.datasets.dataset import Dataset, assign_split
from changeling.datasets.messages import format_count
from changeling.errors import DatasetError
from changeling.files import atomic_write
from changeling.stats.intervals import clopper_pearson

MIN_CLUSTERS = 50  # of a split: fewer give intervals of more than 14 percentage points to each side


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of clusters in train, validation and test; they add up to 1."""

    train: float
    val: float
    test: float


def parse_shares(text: str) -> Shares:
    """Return the shares that a text such as "0.8/0.1/0.1" or "80/10/10" gives. Raises DatasetError."""
    try:
        train, val, test = map(float, text.split("/"))
    except ValueError:
        raise DatasetError(f"--split {text}: write the shares of train, val and test, such as 0.8/0.1/0.1") from None
    total = train + val + test
    if not min(train, val, test) >= 0 or not any(math.isclose(total, expected, rel_tol=1e-6) for expected in (1, 100)):
        raise DatasetError(f"--split {text}: the shares must be at least 0 and add up to 1 (or to 100)")
    return Shares(train / total, val / total, test / total)


def redraw_splits(dataset: Dataset, shares: Shares, seed: int = 0) -> Dataset:
    """Draw a new split for every cluster from a hash of its id and the seed, and write images.parquet."""
    splits = [assign_split(name, shares.val, shares.test, seed) for name in dataset.column("cluster_id").tolist()]
    index = dataset.images.schema.get_field_index("split")
    images = dataset.images.set_column(index, "split", pa.array(splits, pa.string()))
    with atomic_write(dataset.path / "images.parquet") as temporary:
        pq.write_table(images, temporary)
    return Dataset(dataset.path)


def describe_small_splits(dataset: Dataset) -> Iterator[str]:
    """Yield a sentence, without a full stop, for the validation and the test split if it has few readable clusters.

    It gives the 95 % interval that a share of half of the clusters would have.
    """
    is_readable = dataset.column("status") == "ok"
    for split, title in (("val", "validation"), ("test", "test")):
        count = len(np.unique(dataset.clusters[is_readable & (dataset.column("split") == split)]))
        if count == 0:
            yield f"the {title} split has no clusters, so nothing can be measured on it"
        elif count < MIN_CLUSTERS:
            half = count // 2
            low, high = clopper_pearson(half, count)
            yield (
                f"the {title} split has only {format_count(count, 'cluster')}: a share of {half} of {count} has a 95 % "
                f"interval from {100 * low:.0f} to {100 * high:.0f} %"
            )
