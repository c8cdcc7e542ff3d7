"""The detector: image files in, verdicts out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from changeling import engine
from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.detect.model import BUNDLED, Label, ModelInfo, TrainedModel, load_model
from changeling.errors import Status
from changeling.images.decode import read_file
from changeling.progress import Progress, silent

BATCH_SIZE = 4
# A smaller or a plain image is unsure, whatever its probability.
MIN_SHORT_SIDE = 32  # pixels
MIN_PIXEL_STD = 0.02  # of the preprocessed pixels, in the channel that varies most


@dataclass(frozen=True, slots=True)
class Verdict:
    """The detector's answer for one image.

    Attributes:
        path: as it was given.
        label: real, fake or unsure (small and plain images are always unsure); None if the image cannot be read.
        probability: of being generated, in [0, 1]; None if the image cannot be read.
        model: the detector's name.
        status: "ok", or why the file cannot be read, in one word.
        error: the same as a sentence; None if the image was read.
    """

    path: str
    label: Label | None
    probability: float | None
    model: str
    status: Status = "ok"
    error: str | None = None


class Detector:
    """A backbone with a trained head on it."""

    def __init__(self, trained: TrainedModel, backbone: Backbone) -> None:
        """Combine a trained model with its backbone.

        Raises:
            ModelError: the head was trained on features of other weights, another preprocessing or another length.
        """
        trained.check_backbone(backbone)
        self._trained = trained
        self._backbone = backbone

    @property
    def model(self) -> ModelInfo:
        """The detector's name, backbone, thresholds, training set and held-out metrics."""
        return self._trained.model

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None, progress: Progress = silent) -> Detector:
        """Load the detector in the folder `model`, by default the bundled one.

        The backbone's weights are downloaded on first use.

        Raises:
            ModelError: the folder is not a detector, or its backbone has changed since it was trained.
            WeightsError: the weights cannot be downloaded.
        """
        trained = load_model(Path(model) if model is not None else BUNDLED)
        return cls(trained, registry.load_backbone(trained.model.backbone, progress))

    def detect(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Verdict]:
        """Yield a verdict for each path, in order; a file that cannot be read gets a verdict with its error.

        Folders and globs are not expanded: `detect.inputs.find_images` does that.

        Raises:
            TypeError: a single path was passed instead of several.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError("detect takes several paths: put a single one in a list")
        preprocessing = self._backbone.preprocessing
        small_or_plain: set[str] = set()

        def load_pixels(path: str) -> NDArray[np.float32]:
            decoded = preprocessing.decode(read_file(path))
            pixels = preprocessing(decoded.image)
            is_small = min(decoded.width, decoded.height) < MIN_SHORT_SIDE
            if is_small or float(pixels.std(axis=(1, 2)).max()) < MIN_PIXEL_STD:
                small_or_plain.add(path)
            return pixels

        for encoded in engine.encode(map(os.fsdecode, paths), load_pixels, self._backbone, batch_size=BATCH_SIZE):
            if encoded.feature is None:
                yield Verdict(encoded.job, None, None, self.model.name, encoded.status, encoded.error)
            else:
                probability = float(self._trained.predict_probabilities(encoded.feature[None])[0])
                label = "unsure" if encoded.job in small_or_plain else self._trained.choose_label(probability)
                yield Verdict(encoded.job, label, probability, self.model.name)
