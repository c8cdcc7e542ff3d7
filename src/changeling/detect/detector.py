"""Verdicts on image files."""

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
from changeling.detect.model import BUNDLED, Label, Model, Trained, load_model
from changeling.errors import Status
from changeling.images.decode import read_file
from changeling.progress import Progress, silent

BATCH = 4
# An image that shows next to nothing is unsure, whatever the head makes of it:
SMALL = 32  # fewer pixels on its short side,
FLAT = 0.02  # or one colour throughout: the deviation of its pixels, as the backbone is fed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says of one image.

    Attributes:
        path: as it was given.
        label: real, fake or unsure (also where there is next to nothing to see); None if the image cannot be read.
        probability: of being generated, in [0, 1]; None if the image cannot be read.
        model: the detector's name.
        status: "ok", or in one word what is wrong with the file.
        error: the same in a sentence, or None.
    """

    path: str
    label: Label | None
    probability: float | None
    model: str
    status: Status = "ok"
    error: str | None = None


class Detector:
    """A backbone with a trained head on it."""

    def __init__(self, trained: Trained, backbone: Backbone) -> None:
        """Put the two together. Raises ModelError if the head was trained on other features."""
        trained.check(backbone)
        self._trained = trained
        self._backbone = backbone

    @property
    def model(self) -> Model:
        """What the detector is, and how it scored."""
        return self._trained.model

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None, progress: Progress = silent) -> Detector:
        """Load the detector in the folder `model`, by default the one that changeling carries.

        The backbone's weights are fetched on first use.

        Raises:
            ModelError: no detector there, or one that does not fit its backbone.
            WeightsError: the weights cannot be fetched.
        """
        trained = load_model(Path(model) if model is not None else BUNDLED)
        return cls(trained, registry.load_backbone(trained.model.backbone, progress))

    def detect(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Verdict]:
        """Yield a verdict for each path, in order; what cannot be read gets a verdict that says so.

        Folders and globs are not expanded: `detect.inputs.find_images` does that.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError("detect takes several paths: put a single one in a list")
        preprocessing = self._backbone.preprocessing
        empty: set[str] = set()

        def load(path: str) -> NDArray[np.float32]:
            picture = preprocessing.decode(read_file(path))
            pixels = preprocessing(picture.image)
            if min(picture.width, picture.height) < SMALL or float(pixels.std(axis=(1, 2)).max()) < FLAT:
                empty.add(path)
            return pixels

        for done in engine.encode(map(os.fsdecode, paths), load, self._backbone, batch_size=BATCH):
            if done.feature is None:
                yield Verdict(done.job, None, None, self.model.name, done.status, done.error)
            else:
                probability = float(self._trained.probabilities(done.feature[None])[0])
                label = "unsure" if done.job in empty else self._trained.label(probability)
                yield Verdict(done.job, label, probability, self.model.name)
