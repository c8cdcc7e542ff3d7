"""The training images that are most similar to an image: their source, generator and label, without the images.

Features are projected to the first principal components of the head, and stored with 8 bits a number: twice as many
components as with 16 bits, in the same space, find more of the nearest images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from changeling.errors import ModelError, one_line
from changeling.files import atomic_write

if TYPE_CHECKING:  # both modules import scikit-learn or pyarrow, which only training needs
    from changeling.detect.fitting import Projection
    from changeling.detect.training_set import ImageRows

FILE_NAME = "neighbours.safetensors"  # in the folder of a detector
COMPONENTS = 120  # at most; 6,000 images of 9,216 dimensions then take 1.9 MB
_BLOCK = 1024  # rows of a matrix of distances that are computed at a time

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image that is similar to an image.

    Attributes:
        source: where it comes from.
        label: "real" or "fake".
        generator: what made it; None if it is real or the generator is not known.
        distance: cosine distance of the projected features, from 0 (the same direction) to 2.
    """

    source: str
    label: Literal["real", "fake"]
    generator: str | None
    distance: float


@dataclass(frozen=True, slots=True)
class QuantisedMatrix:
    """A matrix with 8 bits a number, and a scale for each row or column."""

    values: NDArray[np.int8]
    scale: Matrix  # (rows, 1) or (1, columns)

    @classmethod
    def quantise(cls, matrix: Matrix, axis: int) -> QuantisedMatrix:
        """Quantise a matrix; numbers along `axis` share a scale."""
        scale = np.abs(matrix).max(axis=axis, keepdims=True) / 127
        scale[scale == 0] = 1
        return cls(np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32))

    def restore(self) -> Matrix:
        """Return the matrix as float32; each number is off by half a scale at most."""
        return np.asarray(self.values * self.scale, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The projected features of N training images, with what is known about each image.

    Attributes:
        mean: (D,), of the features that are projected: the last D dimensions of a feature.
        components: (D, K), the projection.
        points: (N, K), projected features of length 1.
        labels: (N,), 1 for fake.
        sources: N names.
        generators: N names; None for real images and unknown generators.
        nearest_distances: (101,), percentiles, over the training images, of the distance to the nearest image of
            another source; empty if there is one source only.
    """

    mean: Matrix
    components: QuantisedMatrix
    points: QuantisedMatrix
    labels: NDArray[np.uint8]
    sources: Sequence[str]
    generators: Sequence[str | None]
    nearest_distances: Matrix

    def find_nearest(self, feature: NDArray[np.floating], count: int = 5) -> list[Neighbour]:
        """Return the `count` training images that are most similar to an image with this feature, nearest first.

        Raises:
            ModelError: the feature is shorter than those that were projected.
        """
        if len(feature) < len(self.mean):
            raise ModelError(f"the neighbours need features of {len(self.mean)} numbers, not {len(feature)}")
        rows = np.asarray(feature, dtype=np.float32)[None]
        point = _project(rows, self.mean, self.components.restore())[0]
        distances = 1 - self.points.restore() @ point
        nearest = np.argsort(distances, kind="stable")[:count]
        return [self._describe(int(row), float(distances[row])) for row in nearest]

    def rank_distance(self, distance: float) -> float | None:
        """Return the share of training images whose nearest image of another source is nearer than `distance`.

        Near 1, the image is unlike the training images. None if the training images had one source only.
        """
        if not len(self.nearest_distances):
            return None
        shares = np.linspace(0, 1, len(self.nearest_distances))
        return float(np.interp(distance, self.nearest_distances, shares))

    def save(self, folder: Path) -> None:
        """Write neighbours.safetensors in the folder of a detector."""
        source_names, source_index = _index_names(self.sources)
        generator_names, generator_index = _index_names([name or "" for name in self.generators])
        tensors = {
            "mean": self.mean,
            "components": self.components.values,
            "component_scale": self.components.scale,
            "points": self.points.values,
            "point_scale": self.points.scale,
            "labels": self.labels,
            "sources": source_index,
            "generators": generator_index,
            "nearest_distances": self.nearest_distances,
        }
        # one key: several would be written in random order
        metadata = {"names": json.dumps({"sources": source_names, "generators": generator_names})}
        with atomic_write(folder / FILE_NAME) as temporary:
            temporary.write_bytes(save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, metadata))

    def _describe(self, row: int, distance: float) -> Neighbour:
        label: Literal["real", "fake"] = "fake" if self.labels[row] else "real"
        return Neighbour(self.sources[row], label, self.generators[row], max(0.0, distance))


def build_neighbours(features: Matrix, rows: ImageRows, projection: Projection) -> Neighbours:
    """Project the features of the training images (N, D) to the first components of the head's projection.

    `projection` was fitted to these features; dimensions that it skips are left out.
    """
    components = QuantisedMatrix.quantise(projection.components[:, :COMPONENTS], axis=1)
    mean = projection.mean.astype(np.float32)
    points = QuantisedMatrix.quantise(_project(features, mean, components.restore()), axis=0)
    return Neighbours(
        mean=mean,
        components=components,
        points=points,
        labels=rows.labels.astype(np.uint8),
        sources=[str(source) for source in rows.sources],
        generators=[str(name) if name else None for name in rows.generators],
        nearest_distances=_measure_nearest_distances(points.restore(), rows),
    )


def load_neighbours(folder: Path) -> Neighbours | None:
    """Read neighbours.safetensors in the folder of a detector; None if the detector has none.

    Raises:
        ModelError: the file is invalid.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            names = json.loads(file.metadata()["names"])
        neighbours = Neighbours(
            mean=tensors["mean"],
            components=QuantisedMatrix(tensors["components"], tensors["component_scale"]),
            points=QuantisedMatrix(tensors["points"], tensors["point_scale"]),
            labels=tensors["labels"],
            sources=[names["sources"][index] for index in tensors["sources"]],
            generators=[names["generators"][index] or None for index in tensors["generators"]],
            nearest_distances=tensors["nearest_distances"],
        )
        _check_shapes(neighbours)
    except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}; train the detector again") from None
    return neighbours


def _check_shapes(neighbours: Neighbours) -> None:
    """Raise ValueError unless all arrays are of the same N images, D dimensions and K components."""
    (count, size), dims = neighbours.points.values.shape, len(neighbours.mean)
    found = [
        neighbours.components.values.shape,
        neighbours.components.scale.shape,
        neighbours.points.scale.shape,
        (len(neighbours.labels), len(neighbours.sources), len(neighbours.generators)),
    ]
    if found != [(dims, size), (dims, 1), (1, size), (count, count, count)]:
        raise ValueError("its tensors have shapes that do not belong together")


def _project(features: Matrix, mean: Matrix, components: Matrix) -> Matrix:
    """Project the last dimensions of features (N, D) to points (N, K) of length 1."""
    points = (features[:, features.shape[1] - len(mean) :] - mean) @ components
    lengths = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    return np.asarray(points / lengths, dtype=np.float32)


def _measure_nearest_distances(points: Matrix, rows: ImageRows) -> Matrix:
    """Return the percentiles (101,) of the distances to the nearest point of another source; empty for one source."""
    names, sources = np.unique(rows.sources.astype(str), return_inverse=True)
    if len(names) < 2:
        return np.empty(0, dtype=np.float32)
    nearest = []
    for start in range(0, len(points), _BLOCK):
        block = slice(start, start + _BLOCK)
        similarities = points[block] @ points.T
        similarities[sources[block, None] == sources] = -1
        nearest.append(1 - similarities.max(axis=1))
    return np.asarray(np.percentile(np.concatenate(nearest), np.arange(101)), dtype=np.float32)


def _index_names(names: Sequence[str]) -> tuple[list[str], NDArray[np.uint16]]:
    """Return the different names, and the place of each name among them."""
    different, index = np.unique(np.array(names, dtype=str), return_inverse=True)
    return different.tolist(), index.astype(np.uint16)
