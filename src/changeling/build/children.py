"""Which children there are to make, and which seed each is drawn from."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.generators.base import Child
from changeling.generators.families import FAMILIES
from changeling.generators.settings import GeneratorSettings


def seed_of(seed: int, cluster_id: str, caption_index: int | None, generator: str) -> int:
    """A child's first seed, 62 bits of a hash: it depends on nothing but the arguments."""
    digest = hashlib.sha256("\0".join(map(str, (seed, cluster_id, caption_index, generator))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


class Parents:
    """The captioned parents of a dataset, one a cluster: those that could be read when they were imported.

    Attributes:
        dataset: where they come from.
        images: their rows of images.parquet.
        left_out: how many cannot be read, have no caption, or are further parents of a cluster.
    """

    def __init__(self, dataset: Dataset, clusters: int | None = None) -> None:
        """Pick the first `clusters`. Raises BuildError if the dataset has no captioned parents."""
        self._clusters = clusters
        table = dataset.images
        ids = table["cluster_id"]
        good = pc.and_(pc.equal(table["role"], "parent"), pc.equal(table["status"], "ok"))
        good = pc.and_(good, pc.is_in(ids, value_set=dataset.captions["cluster_id"].combine_chunks()))
        rows = np.flatnonzero(good.to_numpy())
        _, first = np.unique(ids.take(rows).to_numpy(), return_index=True)
        rows = rows[np.sort(first)]
        self.left_out = int(pc.sum(pc.equal(table["role"], "parent")).as_py() or 0) - len(rows)
        if not len(rows):
            raise BuildError(f"{dataset.path} has no parents with captions; `changeling import coco` brings some in")
        self.dataset = dataset
        self.images: pa.Table = table.take(rows[:clusters]).combine_chunks()
        self._captions, self._places = _captions(dataset, self.images["cluster_id"])

    def __len__(self) -> int:
        return int(self.images.num_rows)

    def __reduce__(self) -> tuple[type[Parents], tuple[Dataset, int | None]]:
        return Parents, (self.dataset, self._clusters)

    @property
    def captions(self) -> pa.Table:
        """The captions of these clusters, cluster by cluster, as rows of captions.parquet."""
        return self._captions

    def count(self, settings: GeneratorSettings) -> int:
        """How many children a generator makes: one a caption, or one a parent where no caption is read."""
        return len(self._places) if FAMILIES[settings.kind].uses_captions else len(self)

    def children(self, name: str, settings: GeneratorSettings, seed: int, start: int, stop: int) -> list[Child]:
        """The children of generator `name` from number `start` to before `stop`."""
        drawn = FAMILIES[settings.kind].uses_captions
        places = self._places[start:stop] if drawn else np.arange(start, min(stop, len(self)))
        rows = self.images.take(places).to_pylist()
        spoken: list[dict[str, Any]] = self._captions.slice(start, len(rows)).to_pylist() if drawn else [{}] * len(rows)
        made = []
        for number, (row, said) in enumerate(zip(rows, spoken, strict=True), start):
            index = said.get("caption_index")
            made.append(
                Child(
                    image_id="/".join(map(str, (name, row["image_id"], *([] if index is None else [index])))),
                    number=number,
                    cluster_id=row["cluster_id"],
                    split=row["split"],
                    source=row["source"],
                    caption_index=index,
                    prompt=said.get("caption", ""),
                    seed=seed_of(seed, row["cluster_id"], index, name),
                    parent=self.dataset.resolve_path(row["path"]),
                    parent_hash=row["sha256"] or "",
                )
            )
        return made


def _captions(dataset: Dataset, clusters: pa.ChunkedArray) -> tuple[pa.Table, NDArray[np.int64]]:
    """Captions in the order of `clusters`, then of their index, and the place of each one's cluster there."""
    table = dataset.captions
    places = pc.index_in(table["cluster_id"], value_set=clusters.combine_chunks())
    kept = np.flatnonzero(pc.is_valid(places).to_numpy())
    where = places.take(kept).to_numpy()
    index = table["caption_index"].take(kept).to_numpy()
    order = np.lexsort((index, where))
    if ((np.diff(where[order]) == 0) & (np.diff(index[order]) == 0)).any():
        raise BuildError(f"{dataset.path / 'captions.parquet'} has two captions of a cluster with the same index")
    return table.take(kept[order]).combine_chunks(), where[order].astype(np.int64)
