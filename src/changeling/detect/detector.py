"""The detector: image files in, verdicts out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from changeling import engine
from changeling.backbones.registry import Backbone
from changeling.detect.loading import LoadedImage, UnfitReason, load_deliveries, load_image
from changeling.detect.model import BUNDLED, Label, ModelInfo, TrainedModel, load_model
from changeling.detect.runtime_names import Runtime
from changeling.detect.runtimes import find_runtime, load_backbone
from changeling.engine import Encoded
from changeling.errors import ModelError, Status
from changeling.images.decode import ImageFile, read_file
from changeling.progress import Progress, silent

BATCH_SIZE = 4
ReadFile = Callable[[str], ImageFile]
Reason = Literal[UnfitReason, "between", "unstable"]


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
        reason: why the label is unsure, otherwise None: the probability is between the thresholds; the image is too
            small, too flat (nearly of one colour) or not a photograph; or it is unstable (see `detect_stable`).
        lowest, highest: probability over the image and its deliveries; None from `detect`, which has no deliveries.
    """

    path: str
    label: Label | None
    probability: float | None
    model: str
    status: Status = "ok"
    error: str | None = None
    reason: Reason | None = None
    lowest: float | None = None
    highest: float | None = None


@dataclass(slots=True)
class _Picture:
    """An image to detect. Loading its pixels sets the reason why it cannot be judged, if there is one."""

    path: str
    read: ReadFile
    reason: UnfitReason | None = None


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

    def __reduce__(self) -> tuple[Callable[[TrainedModel, Runtime], Detector], tuple[TrainedModel, Runtime]]:
        """Pickle the trained model and the runtime of the backbone, which is loaded again."""
        return _load_again, (self._trained, self.runtime)

    @property
    def trained(self) -> TrainedModel:
        """The trained model: its description and its head."""
        return self._trained

    @property
    def backbone(self) -> Backbone:
        """What encodes images."""
        return self._backbone

    @property
    def runtime(self) -> Runtime:
        """How the backbone is run: `EXACT`, `COMPACT` or `QUANTIZED`."""
        return find_runtime(self._backbone)

    @property
    def model(self) -> ModelInfo:
        """The detector's name, backbone, thresholds, training set and held-out metrics."""
        return self._trained.model

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
        *,
        false_positive_rate: float | None = None,
        false_negative_rate: float | None = None,
        prior: float = 0.5,
        runtime: Runtime = Runtime.AUTO,
    ) -> Detector:
        """Load the detector in the folder `model`, by default the bundled one.

        The backbone's weights are downloaded on first use, and it is measured how they run fastest.

        Args:
            model: a folder that `train` wrote.
            progress: reports a download.
            false_positive_rate: the share of a source's real images that may be called fake, from 0.001 to 0.2. It sets
                the threshold of `fake`, which keeps it on most held-out sources; by default 0.01.
            false_negative_rate: the share of a source's fake images that may be called real, in the same way; by
                default 0.2.
            prior: the share of fakes among the images to be judged, in (0, 1). It moves probabilities, not labels.
            runtime: `EXACT` runs the exported graph of the backbone, `COMPACT` a faster one that gives the same
                features up to rounding, `QUANTIZED` a faster one yet, whose probabilities differ a little, and `AUTO`
                what was chosen of the first two on this machine, on first use or by `changeling doctor`, or else
                `EXACT`.

        Raises:
            BackboneError: the backbone does not have this runtime.
            ModelError: the folder is not a detector, its backbone has changed since it was trained, it has no held-out
                scores to set a threshold from, or a rate or the prior is out of range.
            WeightsError: the weights cannot be downloaded.
        """
        folder = Path(model) if model is not None else BUNDLED
        trained = load_model(folder)
        if false_positive_rate is not None or false_negative_rate is not None:
            from changeling.detect.thresholds import change_error_rates

            trained = change_error_rates(trained, folder, false_positive_rate, false_negative_rate)
        if not 0 < prior < 1:
            raise ModelError(f"the prior must be between 0 and 1, not {prior:g}")
        if prior != 0.5:
            trained = trained.with_prior(prior)
        return cls(trained, load_backbone(trained, runtime, progress))

    def detect(self, paths: Iterable[str | os.PathLike[str]], read: ReadFile = read_file) -> Iterator[Verdict]:
        """Yield a verdict for each path, in order; a file that cannot be read gets a verdict with its error.

        Folders and globs are not expanded: `detect.inputs.find_images` does that. `read` is called once for each path,
        in several threads; it may raise ImageError.

        Raises:
            TypeError: a single path was passed instead of several.
        """
        pictures = _make_pictures(paths, read)
        for encoded in engine.encode(pictures, self._load_pixels, self._backbone, batch_size=BATCH_SIZE):
            if encoded.feature is None:
                yield self._describe_error(encoded)
            else:
                probabilities = self._trained.predict_probabilities(encoded.feature[None])
                yield self._judge(encoded.job.path, encoded.job.reason, probabilities)

    def detect_stable(self, paths: Iterable[str | os.PathLike[str]], read: ReadFile = read_file) -> Iterator[Verdict]:
        """Yield verdicts as `detect` does, each on an image as it is and after each of `images.deliveries.DELIVERIES`.

        The probability is their median. The label is unsure, and unstable, if one of them is real and another one fake.
        A file is read and decoded once, and encoded once for each delivery.

        Raises:
            TypeError: a single path was passed instead of several.
        """
        for encoded in engine.encode_views(_make_pictures(paths, read), self._load_views, self._backbone):
            if encoded.feature is None:
                yield self._describe_error(encoded)
            else:
                probabilities = self._trained.predict_probabilities(encoded.feature)
                yield self._judge(encoded.job.path, encoded.job.reason, probabilities)

    def judge(self, image: LoadedImage, path: str) -> Verdict:
        """Encode a loaded image and return its verdict; with deliveries as `detect_stable`, else as `detect`."""
        return self.judge_features(image, path, self._backbone.encode(image.pixels))

    def judge_features(self, image: LoadedImage, path: str, features: NDArray[np.float32]) -> Verdict:
        """Return the verdict on a loaded image with these features (V, D)."""
        return self._judge(path, image.reason, self._trained.predict_probabilities(features))

    def _load_pixels(self, picture: _Picture) -> NDArray[np.float32]:
        """Return the preprocessed pixels (3, H, W) of a picture."""
        loaded = load_image(picture.read(picture.path), self._backbone.preprocessing)
        picture.reason = loaded.reason
        pixels: NDArray[np.float32] = loaded.pixels[0]
        return pixels

    def _load_views(self, picture: _Picture) -> NDArray[np.float32]:
        """Return the preprocessed pixels (V, 3, H, W) of a picture as it is and after each delivery."""
        loaded = load_deliveries(picture.read(picture.path), self._backbone.preprocessing)
        picture.reason = loaded.reason
        return loaded.pixels

    def _judge(self, path: str, unfit: UnfitReason | None, probabilities: NDArray[np.float64]) -> Verdict:
        """Return the verdict on an image from the probabilities (V,) of the image and its deliveries, if it has any."""
        probability = float(np.median(probabilities))
        label = "unsure" if unfit else self._trained.choose_label(probability)
        reason = unfit or ("between" if label == "unsure" else None)
        verdict = Verdict(path, label, probability, self.model.name, reason=reason)
        if len(probabilities) == 1:
            return verdict
        verdict = replace(verdict, lowest=float(probabilities.min()), highest=float(probabilities.max()))
        labels = {self._trained.choose_label(probability) for probability in probabilities.tolist()}
        if unfit is None and {"real", "fake"} <= labels:
            return replace(verdict, label="unsure", reason="unstable")
        return verdict

    def _describe_error(self, encoded: Encoded[_Picture]) -> Verdict:
        return Verdict(encoded.job.path, None, None, self.model.name, encoded.status, encoded.error)


def _load_again(trained: TrainedModel, runtime: Runtime) -> Detector:
    return Detector(trained, load_backbone(trained, runtime, silent))


def _make_pictures(paths: Iterable[str | os.PathLike[str]], read: ReadFile) -> Iterator[_Picture]:
    """Return a picture for each path. Raises TypeError if `paths` is a single path."""
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError("detect takes several paths: put a single one in a list")
    return (_Picture(os.fsdecode(path), read) for path in paths)
