"""Explain the score of one picture: where in the picture it comes from, and which training images are similar."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.detect.explanation.contributions import ORDERS, Contributions, Pixels, compute_contributions
from changeling.detect.model import BUNDLED, TrainedModel, load_model
from changeling.detect.neighbours import Neighbour, Neighbours, load_neighbours
from changeling.errors import ImageError
from changeling.files import StrPath
from changeling.images.decode import DecodedImage, read_file
from changeling.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a picture has its score.

    Attributes:
        path: as it was given.
        model: the detector's name.
        width, height: of the picture in the file, upright, in pixels.
        probability: of being generated, in [0, 1].
        contributions: of the cells of the picture to the score.
        nearest: the most similar training images, nearest first; None if the detector does not store them.
        distance_rank: share of training images whose nearest image of another source is nearer than this picture's
            nearest training image; None if unknown.
    """

    path: str
    model: str
    width: int
    height: int
    probability: float
    contributions: Contributions
    nearest: tuple[Neighbour, ...] | None = None
    distance_rank: float | None = None


class Explainer:
    """A detector that explains its scores."""

    def __init__(self, trained: TrainedModel, backbone: Backbone, neighbours: Neighbours | None = None) -> None:
        """Combine a trained model with its backbone and its training images.

        Raises:
            ModelError: the model was trained on features of other weights or another preprocessing.
        """
        trained.check_backbone(backbone)
        self._trained = trained
        self._backbone = backbone
        self._neighbours = neighbours

    @classmethod
    def load(cls, model: StrPath | None = None, progress: Progress = silent) -> Explainer:
        """Load the detector in the folder `model`, by default the bundled one.

        Raises:
            ModelError: the folder is not a detector, or its backbone has changed since it was trained.
            WeightsError: the weights cannot be downloaded.
        """
        folder = Path(model) if model is not None else BUNDLED
        trained = load_model(folder)
        return cls(trained, registry.load_backbone(trained.model.backbone, progress), load_neighbours(folder))

    def explain(self, path: StrPath, *, orders: int = ORDERS, progress: Progress = silent) -> Explanation:
        """Explain the score of a picture.

        Args:
            path: of an image file.
            orders: in which the cells of the picture are shown: four times as many halve the margins.
            progress: called after each pass through the backbone; there are about 30 for each order.

        Raises:
            ImageError: the file cannot be read.
        """
        name = os.fsdecode(path)
        return self.explain_decoded(name, self.decode(name), orders, progress)

    def decode(self, path: str) -> DecodedImage:
        """Read and decode a picture as the detector does. Raises ImageError, with the path in its message."""
        try:
            return self._backbone.preprocessing.decode(read_file(path))
        except ImageError as error:
            raise ImageError(error.status, f"{path}: {error}") from None

    def explain_decoded(
        self, path: str, decoded: DecodedImage, orders: int = ORDERS, progress: Progress = silent
    ) -> Explanation:
        """Explain the score of a decoded picture, as `explain_pixels` does."""
        pixels = self._backbone.preprocessing(decoded.image)
        return self.explain_pixels(path, pixels, (decoded.width, decoded.height), orders, progress)

    def explain_pixels(
        self, path: str, pixels: Pixels, size: tuple[int, int], orders: int = ORDERS, progress: Progress = silent
    ) -> Explanation:
        """Explain the score of preprocessed pixels (3, H, W) of a picture whose file has this width and height.

        Takes one pass more than `contributions.count_passes(orders)`.
        """
        contributions = compute_contributions(self._trained, self._backbone, pixels, size, orders, progress)
        feature = self._backbone.encode(pixels[None])
        nearest = self._neighbours.find_nearest(feature[0]) if self._neighbours else None
        return Explanation(
            path=path,
            model=self._trained.model.name,
            width=size[0],
            height=size[1],
            probability=float(self._trained.predict_probabilities(feature)[0]),
            contributions=contributions,
            nearest=tuple(nearest) if nearest is not None else None,
            distance_rank=self._neighbours.rank_distance(nearest[0].distance) if self._neighbours and nearest else None,
        )
