"""The clusters of several datasets: which are the same, and what contradicts that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, format_count, format_examples
from changeling.datasets.schema import CaptionRow, ImageRow, Split
from changeling.errors import DatasetError, ImageError
from changeling.images.decode import decode_image, read_file
from changeling.images.perceptual_hash import is_same_picture, to_greys

_SHORT_SIDE = 256  # pixels that are enough to compare pictures


@dataclass(slots=True)
class Cluster:
    """A cluster, with the absolute paths of its images.

    Attributes:
        name: its cluster_id.
        origin: the dataset that it comes from.
        captions: by their index.
    """

    name: str
    origin: Path
    split: Split
    images: list[ImageRow] = field(default_factory=list)
    captions: dict[int, str] = field(default_factory=dict)

    @property
    def parents(self) -> list[ImageRow]:
        """The parents whose files can be read."""
        return [image for image in self.images if image.role == "parent" and image.status == "ok"]


class JoinedClusters:
    """Clusters of several datasets, joined where they have the same parent.

    Two clusters are the same if their parents have the same SHA-256, or else if they have the same cluster_id; then
    their parents must show the same picture, which may be scaled or saved again, and the first one is used.
    """

    def __init__(self) -> None:
        self._clusters: dict[str, Cluster] = {}
        self._cluster_of_parent: dict[str, str] = {}  # SHA-256 -> cluster_id
        self._image_ids: set[str] = set()

    @property
    def images(self) -> Iterator[ImageRow]:
        """The rows of all images, cluster by cluster."""
        for cluster in self._clusters.values():
            yield from cluster.images

    @property
    def captions(self) -> Iterator[CaptionRow]:
        """The rows of all captions."""
        for cluster in self._clusters.values():
            for index, caption in cluster.captions.items():
                yield CaptionRow(cluster.name, index, caption)

    def add(self, dataset: Dataset, note: Note) -> None:
        """Add a dataset. `note` is called with what it shares with the datasets before.

        Raises:
            DatasetError: a cluster has another split, other captions or another parent than in the datasets before, or
                an image_id is the one of another image.
        """
        is_first = not self._clusters
        clusters = read_clusters(dataset)
        pairs = [(cluster, known) for cluster in clusters if (known := self._find(cluster)) is not None]
        _check_splits(pairs)
        _check_captions(pairs)
        other_files = _check_parents(pairs)
        for cluster, known in pairs:
            if cluster.parents and not known.parents:
                self._remove_parents(known)
            cluster.images = _select_new_images(cluster, known)
        self._check_image_ids(clusters, dataset)
        joined = {id(cluster): known for cluster, known in pairs}
        for cluster in clusters:
            self._add_cluster(cluster, joined.get(id(cluster)))
        if not is_first:
            shared = f"{len(pairs):,} of {format_count(len(clusters), 'cluster')}"
            note(f"{dataset.path}: {shared} joined with clusters of the datasets before")
        if other_files:
            count = format_count(other_files, "parent")
            note(f"{dataset.path}: {count} in another file than before; the files of the first dataset are used")

    def _find(self, cluster: Cluster) -> Cluster | None:
        """Return the known cluster that is the same."""
        names = {self._cluster_of_parent.get(parent.sha256 or "") for parent in cluster.parents} - {None}
        return self._clusters.get(names.pop() or "" if len(names) == 1 else cluster.name)

    def _remove_parents(self, cluster: Cluster) -> None:
        """Remove the parents of a known cluster, which cannot be read."""
        self._image_ids -= {image.image_id for image in cluster.images if image.role == "parent"}
        cluster.images = [image for image in cluster.images if image.role == "child"]

    def _add_cluster(self, cluster: Cluster, known: Cluster | None) -> None:
        """Add a cluster as it is, or add its images and captions to the known one."""
        target = known or self._clusters.setdefault(cluster.name, cluster)
        if known:
            known.images += [replace(image, cluster_id=known.name) for image in cluster.images]
            known.captions = known.captions or cluster.captions
        self._image_ids.update(image.image_id for image in cluster.images)
        for parent in target.parents:
            if parent.sha256:
                self._cluster_of_parent.setdefault(parent.sha256, target.name)

    def _check_image_ids(self, clusters: Sequence[Cluster], dataset: Dataset) -> None:
        """Raise DatasetError if a child, or the parent of a new cluster, has the id of another image."""
        images = [image for cluster in clusters for image in cluster.images]
        taken = [image.image_id for image in images if image.image_id in self._image_ids]
        if taken:
            raise DatasetError(
                f"{dataset.path}: {format_count(len(taken), 'image_id')} belong to other images in the datasets before "
                f"({format_examples(taken)}); rename them in one of the datasets"
            )


def read_clusters(dataset: Dataset) -> list[Cluster]:
    """Return the clusters of a dataset in order of first appearance."""
    clusters: dict[str, Cluster] = {}
    for record in dataset.images.to_pylist():
        row = ImageRow(**record)
        path = str(dataset.resolve_path(row.path).absolute()) if row.path else ""
        cluster = clusters.setdefault(row.cluster_id, Cluster(row.cluster_id, dataset.path, row.split))
        cluster.images.append(replace(row, path=path))
    for caption in dataset.captions.to_pylist():
        if caption["cluster_id"] in clusters:
            clusters[caption["cluster_id"]].captions[caption["caption_index"]] = caption["caption"]
    return [*clusters.values()]


def _select_new_images(cluster: Cluster, known: Cluster) -> list[ImageRow]:
    """Return the images that the known cluster lacks: children in other files, and a parent if it has none."""
    known_children = [*map(_child_key, known.images)]
    return [
        image
        for image in cluster.images
        if (image.role == "child" and _child_key(image) not in known_children)
        or (image.role == "parent" and image.status == "ok" and not known.parents)
    ]


def _child_key(image: ImageRow) -> tuple[str | None, str]:
    """What two rows of the same child have in common: generator and file, or the id if there is no file."""
    return image.generator, image.sha256 or image.image_id


def _check_splits(pairs: Sequence[tuple[Cluster, Cluster]]) -> None:
    differing = [
        f"{cluster.name} is in {known.split} and in {cluster.split}"
        for cluster, known in pairs
        if cluster.split != known.split
    ]
    advice = "give the column split of images.parquet the same values, or import both with the same splits"
    _raise_conflict(pairs, differing, "in different splits", advice)


def _check_captions(pairs: Sequence[tuple[Cluster, Cluster]]) -> None:
    differing = [
        cluster.name
        for cluster, known in pairs
        if cluster.captions and known.captions and cluster.captions != known.captions
    ]
    advice = "children refer to captions by their index, so the lists must be the same"
    _raise_conflict(pairs, differing, "with different captions", advice)


def _check_parents(pairs: Sequence[tuple[Cluster, Cluster]]) -> int:
    """Return how many clusters have another file of the same parent. Raises DatasetError if it is another picture."""
    other_files = [(cluster, known) for cluster, known in pairs if _has_other_parent_file(cluster, known)]
    differing = [cluster.name for cluster, known in other_files if not _show_same_picture(cluster, known)]
    advice = "a cluster_id must mean the same parent in all datasets; rename the clusters of one of them"
    _raise_conflict(pairs, differing, "with different parents", advice)
    return len(other_files)


def _has_other_parent_file(cluster: Cluster, known: Cluster) -> bool:
    """Whether both clusters have a parent, but not in the same file."""
    first, second = ({parent.sha256 for parent in one.parents} for one in (known, cluster))
    return bool(first and second) and not first & second


def _show_same_picture(cluster: Cluster, known: Cluster) -> bool:
    try:
        first, second = (to_greys(_decode(one.parents[0])) for one in (known, cluster))
    except ImageError as error:
        raise DatasetError(f"cluster {cluster.name}: its parents cannot be compared: {error}") from None
    return is_same_picture(first, second)


def _decode(parent: ImageRow) -> Image.Image:
    return decode_image(read_file(parent.path, parent.sha256), short_side=_SHORT_SIDE).image


def _raise_conflict(pairs: Sequence[tuple[Cluster, Cluster]], conflicts: list[str], problem: str, advice: str) -> None:
    """Raise DatasetError if there are conflicts between a dataset and those before."""
    if conflicts:
        dataset = pairs[0][0].origin
        raise DatasetError(
            f"{dataset} has {format_count(len(conflicts), 'cluster')} of the datasets before {problem} "
            f"({format_examples(conflicts)}); {advice}"
        )
