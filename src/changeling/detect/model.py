"""A trained model on disk: model.json (its description and metrics) and head.safetensors (a linear head)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from changeling.backbones.compact import strip_kind
from changeling.backbones.registry import Backbone
from changeling.errors import ModelError
from changeling.files import atomic_write

BUNDLED = Path(__file__).parents[1] / "data" / "changeling-2"
LARGE_SOURCE = 25  # images of a class
Label = Literal["real", "fake", "unsure"]


class HeldOut(BaseModel):
    """Metrics of a detector on held-out images: fakes by one generator, or by all, against all real images.

    Each metric is a value with the ends of its 95 % interval over sources, or clusters if sources were not held out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    generator: str
    clusters: int  # or sources, of the fakes
    images: int
    auroc: tuple[float, float, float]
    tpr_at_1: tuple[float, float, float] = Field(alias="found_at_1")  # TPR at 1 % FPR
    tpr_at_5: tuple[float, float, float] = Field(alias="found_at_5")  # TPR at 5 % FPR


class ErrorRate(BaseModel):
    """How well the threshold of a label keeps an error rate on held-out sources.

    Attributes:
        rate: of the images of a source, that may have the wrong label.
        sources: that were judged, each by thresholds chosen without it.
        within: how many of them kept the rate, on images as they are and on their copies together.
        low, high: the 95 % interval of the share that kept it.
        large_sources, large_within: the same two counts of the sources with at least LARGE_SOURCE images.
        mean: the mean error rate of the sources.
        right, wrong: shares of the images of all judged sources, as they are; the rest is unsure.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float
    sources: int
    within: int
    low: float
    high: float
    large_sources: int
    large_within: int
    mean: float
    right: float
    wrong: float


class ModelInfo(BaseModel):
    """The content of model.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    backbone: str
    weights: str  # hash of the backbone's weights
    preprocessing: str  # hash
    head: str  # hash of the head in head.safetensors
    slope: float  # probability = 1 / (1 + exp(-(slope * score + bias)))
    bias: float
    real_below: float  # the label is real below this probability,
    fake_above: float  # fake above this one, and unsure in between
    trained_on: dict[str, str | int]
    settings: dict[str, str | int | float]
    held_out: tuple[HeldOut, ...] = ()
    false_positives: ErrorRate | None = None  # real images labelled fake; None in older detectors
    false_negatives: ErrorRate | None = None  # fake images labelled real
    versions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Head:
    """A linear map from a feature (D,) to a score."""

    weight: NDArray[np.float32]
    bias: float

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the weight and the bias."""
        return hashlib.sha256(self.weight.tobytes() + np.float64(self.bias).tobytes()).hexdigest()[:16]

    def compute_scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the scores (N,) of features (N, D): the higher, the more likely generated."""
        scores: NDArray[np.float64] = features.astype(np.float64) @ self.weight.astype(np.float64) + self.bias
        return scores


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The description of a model, its head, and the prior of its probabilities: the share of fakes among the images."""

    model: ModelInfo
    head: Head
    prior: float = 0.5

    def predict_probabilities(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the calibrated probabilities (N,) that images with features (N, D) are generated."""
        z = self.model.slope * self.head.compute_scores(features) + self.model.bias
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        return probabilities

    def are_near_thresholds(self, features: NDArray[np.floating], margin: float) -> NDArray[np.bool_]:
        """Return whether the log-odds of images with features (N, D) are closer than `margin` to a threshold's."""
        logits = self.model.slope * self.head.compute_scores(features) + self.model.bias
        thresholds = np.array([[self.model.real_below], [self.model.fake_above]])
        with np.errstate(divide="ignore"):  # a threshold of 0 or 1 is far from every image
            distances = np.abs(logits - np.log(thresholds / (1 - thresholds)))
        is_near: NDArray[np.bool_] = distances.min(axis=0) < margin
        return is_near

    def convert_score(self, score: float) -> float:
        """Return the probability of a score."""
        return 1 / (1 + math.exp(-min(max(self.model.slope * score + self.model.bias, -500.0), 500.0)))

    def choose_label(self, probability: float) -> Label:
        """Return the label of a probability, by the two thresholds."""
        if probability > self.model.fake_above:
            return "fake"
        return "real" if probability < self.model.real_below else "unsure"

    def with_prior(self, prior: float) -> TrainedModel:
        """Return the model for a population of which a share `prior` in (0, 1) is generated; labels do not change.

        Probabilities and both thresholds are moved by Bayes' rule. They are calibrated for a prior of 0.5.
        """
        odds = prior / (1 - prior)
        moved = {
            name: probability * odds / (probability * odds + 1 - probability)
            for name, probability in (("real_below", self.model.real_below), ("fake_above", self.model.fake_above))
        }
        bias = self.model.bias + math.log(odds)
        return replace(self, model=self.model.model_copy(update={"bias": bias, **moved}), prior=prior)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError unless `backbone` gives the features that the head was trained on.

        Weights in half and in single precision are taken for the same: a detector trained on a GPU runs on a CPU. So
        are those of compact and quantized graphs.
        """
        for what, trained, current in (
            ("weights", _strip_suffix(self.model.weights), _strip_suffix(backbone.weights)),
            ("preprocessing", self.model.preprocessing, backbone.preprocessing.hash),
        ):
            if trained != current:
                raise ModelError(
                    f"the model {self.model.name} was trained on {self.model.backbone} with {what} {trained}, but "
                    f"{backbone.name} now has {current}; train it again, or use the version it was made with"
                )
        if len(self.head.weight) != backbone.dim:
            raise ModelError(f"the head of {self.model.name} takes {len(self.head.weight)} numbers, not {backbone.dim}")

    def save(self, folder: Path) -> None:
        """Write head.safetensors, then model.json, which contains the hash of the head."""
        with atomic_write(folder / "head.safetensors") as temporary:
            bias = np.array([self.head.bias], dtype=np.float64)
            temporary.write_bytes(save({"weight": self.head.weight, "bias": bias}))
        with atomic_write(folder / "model.json") as temporary:
            temporary.write_text(self.model.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")


def load_model(folder: Path = BUNDLED) -> TrainedModel:
    """Read the folder of a detector.

    Raises:
        ModelError: a file is missing or invalid, or the two do not belong together.
    """
    try:
        model = ModelInfo.model_validate_json((folder / "model.json").read_bytes())
        tensors = load_file(folder / "head.safetensors")
        head = Head(tensors["weight"].astype(np.float32), float(tensors["bias"][0]))
    except (FileNotFoundError, NotADirectoryError):
        reason = "it needs model.json and head.safetensors" if folder.exists() else "there is no such folder"
        raise ModelError(f"{folder} is not a detector: {reason}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{folder / 'model.json'}: {where}: {first['msg']}") from None
    except (SafetensorError, KeyError, IndexError, OSError) as error:
        raise ModelError(f"{folder / 'head.safetensors'} cannot be read: {error}") from None
    if head.weight.ndim != 1 or head.hash != model.head:
        raise ModelError(f"{folder}: head.safetensors is not the head that model.json describes; train it again")
    return TrainedModel(model, head)


def _strip_suffix(weights: str) -> str:
    """Return the hash of weights without what says how they are run."""
    return strip_kind(weights).removesuffix("-half")


def describe_thresholds(model: ModelInfo) -> str:
    """Return a sentence that says which probabilities have which label."""
    return f"Fake: a probability above {model.fake_above:.3g}. Real: below {model.real_below:.3g}. Unsure: in between."


def describe_error_rates(model: ModelInfo) -> str:
    """Return sentences that say how well the labels fake and real kept their error rates on held-out sources."""
    sentences = [
        f"On {rate.within} of {rate.sources} held-out sources ({100 * rate.within / rate.sources:.1f} %, 95 % interval "
        f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %) at most {100 * rate.rate:g} % of {kind} images were "
        f"called {label}; of those with at least {LARGE_SOURCE} images, on {rate.large_within} of "
        f"{rate.large_sources}. "
        f"The mean over sources is {100 * rate.mean:.1f} %. Of all their {kind} images, {100 * rate.right:.1f} % were "
        f"called {right_label}, {100 * rate.wrong:.1f} % {label}, and the rest unsure."
        for rate, kind, label, right_label in (
            (model.false_positives, "real", "fake", "real"),
            (model.false_negatives, "generated", "real", "fake"),
        )
        if rate is not None and rate.sources
    ]
    return "\n".join(sentences) or "This detector was trained on too few sources to say how often it errs on new ones."
