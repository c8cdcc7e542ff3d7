"""Held-out scores of a detector's training images: written beside it, since thresholds for other rates need them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from changeling.detect.cross_validation import HeldOutScores
from changeling.detect.training_set import ImageRows
from changeling.errors import ModelError
from changeling.files import atomic_write
from changeling.stats.metrics import Ints

HELD_OUT_FILE = "held_out.parquet"
_SCHEMA = pa.schema(
    [
        ("label", pa.int8()),
        ("cluster", pa.int32()),
        ("source", pa.string()),
        ("generator", pa.string()),
        ("score", pa.float32()),
        ("copy_score", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class HeldOutImages:
    """N images, each with its scores by a head that was trained without its source, cluster and generator."""

    rows: ImageRows
    scores: HeldOutScores

    @classmethod
    def select_tested(cls, rows: ImageRows, scores: HeldOutScores) -> HeldOutImages:
        """Return the images that were tested, with scores in single precision, as they are written."""
        tested = np.flatnonzero(np.isfinite(scores.images))
        images, copies = (values[tested].astype(np.float32) for values in (scores.images, scores.copies))
        return cls(rows.select(tested), HeldOutScores(images.astype(np.float64), copies.astype(np.float64)))

    def select(self, label: int) -> HeldOutImages:
        """Return the real images (0) or the fake ones (1)."""
        return self.take(np.flatnonzero(self.rows.labels == label))

    def take(self, indices: Ints) -> HeldOutImages:
        """Return the images at `indices`."""
        scores = HeldOutScores(self.scores.images[indices], self.scores.copies[indices])
        return HeldOutImages(self.rows.select(indices), scores)

    def save(self, folder: Path) -> None:
        """Write the table to the folder of the detector."""
        columns = [
            self.rows.labels.astype(np.int8),
            self.rows.clusters.astype(np.int32),
            self.rows.sources.tolist(),
            self.rows.generators.tolist(),
            self.scores.images.astype(np.float32),
            self.scores.copies.astype(np.float32),
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        with atomic_write(folder / HELD_OUT_FILE) as temporary:
            pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), temporary)


def load_held_out(folder: Path) -> HeldOutImages:
    """Read the table in the folder of a detector.

    Raises:
        ModelError: there is none, or it is not such a table.
    """
    path = folder / HELD_OUT_FILE
    try:
        table = pq.read_table(path, schema=_SCHEMA)
    except FileNotFoundError:
        raise ModelError(
            f"{folder} has no {HELD_OUT_FILE}, so its error rates cannot be changed; train the detector again"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    labels, clusters = (table[name].to_numpy().astype(np.int64) for name in ("label", "cluster"))
    sources, generators = (np.array(table[name].to_pylist(), object) for name in ("source", "generator"))
    scores, copies = (table[name].to_numpy().astype(np.float64) for name in ("score", "copy_score"))
    return HeldOutImages(ImageRows(labels, clusters, sources, generators), HeldOutScores(scores, copies))
