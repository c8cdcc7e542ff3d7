"""The detector: image files in, verdicts out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
Reason = Literal["between", "too small", "flat"]
# A smaller or a flatter image is unsure, whatever its probability.
MIN_SHORT_SIDE = 32  # pixels
MIN_PIXEL_STD = 0.02  # of the preprocessed pixels, in the channel that varies most


@dataclass(frozen=True, slots=True)
class Verdict:
    """The detector's answer for one image.

    Attributes:
        path: as it was given.
        label: real, fake or unsure; None if the image cannot be read.
        probability: of being generated, in [0, 1]; None if the image cannot be read.
        model: the detector's name.
        status: "ok", or why the file cannot be read, in one word.
        error: the same as a sentence; None if the image was read.
        reason: why the label is unsure, otherwise None: the probability is between the thresholds, or the image is too
            small or too flat, that is nearly of one colour, to be judged.
    """

    path: str
    label: Label | None
    probability: float | None
    model: str
    status: Status = "ok"
    error: str | None = None
    reason: Reason | None = None


@dataclass(slots=True)
class _Picture:
    """An image to detect. Loading its pixels sets the reason why it cannot be judged, if there is one."""

    path: str
    reason: Reason | None = None


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
        pictures = (_Picture(os.fsdecode(path)) for path in paths)
        for encoded in engine.encode(pictures, self._load_pixels, self._backbone, batch_size=BATCH_SIZE):
            if encoded.feature is None:
                yield Verdict(encoded.job.path, None, None, self.model.name, encoded.status, encoded.error)
            else:
                probability = float(self._trained.predict_probabilities(encoded.feature[None])[0])
                yield self._judge(encoded.job, probability)

    def _load_pixels(self, picture: _Picture) -> NDArray[np.float32]:
        preprocessing = self._backbone.preprocessing
        decoded = preprocessing.decode(read_file(picture.path))
        pixels = preprocessing(decoded.image)
        if min(decoded.width, decoded.height) < MIN_SHORT_SIDE:
            picture.reason = "too small"
        elif float(pixels.std(axis=(1, 2)).max()) < MIN_PIXEL_STD:
            picture.reason = "flat"
        return pixels

    def _judge(self, picture: _Picture, probability: float) -> Verdict:
        label = "unsure" if picture.reason else self._trained.choose_label(probability)
        reason = picture.reason or ("between" if label == "unsure" else None)
        return Verdict(picture.path, label, probability, self.model.name, reason=reason)
