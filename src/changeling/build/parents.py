"""The captioned parents of a dataset, and the children that are requested of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.generators.base import Child, ParentFile
from changeling.generators.families import FAMILIES
from changeling.generators.settings import GeneratorSettings


def child_seed(seed: int, cluster_id: str, caption_index: int | None, generator: str) -> int:
    """The seed of a child's first attempt: 62 bits of a hash of the four arguments."""
    digest = hashlib.sha256("\0".join(map(str, (seed, cluster_id, caption_index, generator))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


class Parents:
    """The captioned parents of a dataset, one for each cluster: those that were readable when they were imported.

    Attributes:
        dataset: the dataset that they belong to.
        images: their rows of images.parquet.
        captions: the captions of their clusters as rows of captions.parquet, in the order of the parents.
        excluded_count: how many parents are unreadable, have no caption, or are a further parent of their cluster.
    """

    def __init__(self, dataset: Dataset, clusters: int | None = None) -> None:
        """Take the first `clusters` parents. Raises BuildError if the dataset has no captioned parents."""
        self._clusters = clusters
        self.dataset = dataset
        rows = _find_captioned_parents(dataset)
        if not len(rows):
            raise BuildError(f"{dataset.path} has no parents with captions; `changeling import coco` brings some in")
        parent_count = int(pc.sum(pc.equal(dataset.images["role"], "parent")).as_py() or 0)
        self.excluded_count = parent_count - len(rows)
        self.images: pa.Table = dataset.images.take(rows[:clusters]).combine_chunks()
        self.captions, self._parent_of_caption = _sort_captions(dataset, self.images["cluster_id"])

    def __len__(self) -> int:
        return int(self.images.num_rows)

    def __reduce__(self) -> tuple[type[Parents], tuple[Dataset, int | None]]:
        return Parents, (self.dataset, self._clusters)

    def count_children(self, settings: GeneratorSettings) -> int:
        """How many children a generator makes: one for each caption, or one for each parent if it reads no captions."""
        return int(self.captions.num_rows) if FAMILIES[settings.kind].uses_captions else len(self)

    def list_children(self, name: str, settings: GeneratorSettings, seed: int, start: int, stop: int) -> list[Child]:
        """The children of the generator `name` with the numbers from `start` to before `stop`."""
        if FAMILIES[settings.kind].uses_captions:
            rows = self.images.take(self._parent_of_caption[start:stop]).to_pylist()
            captions = self.captions.slice(start, len(rows)).to_pylist()
        else:
            rows = self.images.slice(start, max(0, stop - start)).to_pylist()
            captions = [{}] * len(rows)
        files = {row["path"]: ParentFile(self.dataset.resolve_path(row["path"]), row["sha256"] or "") for row in rows}
        return [
            _request_child(name, seed, number, row, caption, files[row["path"]])
            for number, (row, caption) in enumerate(zip(rows, captions, strict=True), start)
        ]


def _request_child(
    name: str, seed: int, number: int, row: dict[str, Any], caption: dict[str, Any], parent: ParentFile
) -> Child:
    """The child of a row of images.parquet and a row of captions.parquet, which is empty if none is read."""
    index = caption.get("caption_index")
    image_id = f"{name}/{row['image_id']}"
    return Child(
        image_id=image_id if index is None else f"{image_id}/{index}",
        number=number,
        cluster_id=row["cluster_id"],
        split=row["split"],
        source=row["source"],
        caption_index=index,
        prompt=caption.get("caption", ""),
        seed=child_seed(seed, row["cluster_id"], index, name),
        parent=parent,
    )


def _find_captioned_parents(dataset: Dataset) -> NDArray[np.int64]:
    """The rows of images.parquet with the first readable parent of each cluster that has captions."""
    images = dataset.images
    is_parent = pc.and_(pc.equal(images["role"], "parent"), pc.equal(images["status"], "ok"))
    has_captions = pc.is_in(images["cluster_id"], value_set=dataset.captions["cluster_id"].combine_chunks())
    rows = np.flatnonzero(pc.and_(is_parent, has_captions).to_numpy())
    _, first = np.unique(images["cluster_id"].take(rows).to_numpy(), return_index=True)
    return rows[np.sort(first)]


def _sort_captions(dataset: Dataset, cluster_ids: pa.ChunkedArray) -> tuple[pa.Table, NDArray[np.int64]]:
    """The captions of these clusters, sorted by cluster and index, and the position of the cluster of each."""
    captions = dataset.captions
    positions = pc.index_in(captions["cluster_id"], value_set=cluster_ids.combine_chunks())
    rows = np.flatnonzero(pc.is_valid(positions).to_numpy())
    clusters = positions.take(rows).to_numpy().astype(np.int64)
    indices = captions["caption_index"].take(rows).to_numpy()
    order = np.lexsort((indices, clusters))
    is_repeated = (np.diff(clusters[order]) == 0) & (np.diff(indices[order]) == 0)
    if is_repeated.any():
        raise BuildError(f"{dataset.path / 'captions.parquet'} has two captions of a cluster with the same index")
    return captions.take(rows[order]).combine_chunks(), clusters[order]
