"""The tables of a dataset: clusters without a parent, children without a caption, repeated captions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from changeling.datasets.audit.findings import Finding
from changeling.datasets.dataset import Dataset


def find_clusters_without_parent(dataset: Dataset) -> Iterator[Finding]:
    """Yield clusters that have children only; none if no cluster has both, as in a folder of single images."""
    has_child, has_parent = (np.bincount(dataset.clusters, dataset.labels == label) > 0 for label in (1, 0))
    if not (has_child & has_parent).any():
        return
    _, rows = np.unique(dataset.clusters, return_index=True)
    for row in rows[has_child & ~has_parent]:
        first_image = dataset.column("image_id")[row]
        yield Finding.printable("no parent", dataset.column("cluster_id")[row], f"its first image is {first_image}")


def find_children_without_caption(dataset: Dataset) -> Iterator[Finding]:
    """Yield children whose caption is missing; none of a generator that makes all its children without a caption."""
    children = dataset.images.select(["image_id", "cluster_id", "caption_index", "generator"])
    children = children.append_column("row", pa.array(np.arange(len(dataset))))
    children = children.filter(pc.equal(dataset.images["role"], "child"))
    has_index = children["caption_index"].is_valid()
    captioned = set(children.filter(has_index)["generator"].unique().to_pylist())
    captions = dataset.captions.select(["cluster_id", "caption_index"])
    keys = ["cluster_id", "caption_index"]
    without = children.join(captions, keys=keys, join_type="left anti").sort_by("row")  # an empty index matches none
    for child in without.to_pylist():
        if child["caption_index"] is not None:
            detail = f"{child['cluster_id']} has no caption {child['caption_index']}"
            yield Finding.printable("no caption", child["image_id"], detail)
        elif child["generator"] in captioned:
            yield Finding.printable("no caption", child["image_id"], "it has no caption_index")


def find_repeated_captions(dataset: Dataset) -> Iterator[Finding]:
    """Yield captions that an earlier cluster has too; case, spaces and full stops at the end do not count."""
    texts = (text for batch in dataset.captions["caption"].chunks for text in batch.to_pylist())
    hashes = np.fromiter((hash(" ".join(text.casefold().rstrip(". ").split())) for text in texts), np.int64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    clusters = dataset.captions["cluster_id"].to_numpy(zero_copy_only=False)
    first_clusters = clusters[first[inverse]]
    splits = dict(zip(dataset.column("cluster_id"), dataset.column("split"), strict=True))
    for row in np.flatnonzero(clusters != first_clusters).tolist():
        text = dataset.captions["caption"][row].as_py()
        split = splits.get(first_clusters[row], "no split")
        detail = f"{text!r}, also in {first_clusters[row]} in {split}"
        yield Finding.printable("repeated caption", clusters[row], detail)
