"""A detector's files: model.json (what it is, how it scored) and head.safetensors (a linear head)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from changeling.backbones.registry import Backbone
from changeling.errors import ModelError
from changeling.files import atomic_write

BUNDLED = Path(__file__).parents[1] / "data" / "changeling-1"
Label = Literal["real", "fake", "unsure"]


class HeldOut(BaseModel):
    """How a detector does on fakes that it was not trained on: one generator, or all together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: str
    clusters: int
    images: int
    auroc: tuple[float, float, float]  # value, and the ends of its 95 % interval
    found_at_1: tuple[float, float, float]  # share of the fakes found when 1 % of the reals are called fake
    found_at_5: tuple[float, float, float]


class Model(BaseModel):
    """What model.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    backbone: str
    weights: str  # hash: features of other weights are refused
    preprocessing: str  # hash
    head: str  # hash: a head of another training is refused
    slope: float  # probability = 1 / (1 + exp(-(slope * score + bias)))
    bias: float
    real_below: float  # a probability below is called real,
    fake_above: float  # above is called fake, and between unsure
    trained_on: dict[str, str | int]
    settings: dict[str, str | int | float]
    held_out: tuple[HeldOut, ...] = ()
    versions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Head:
    """A linear map from a feature (D,) to a score."""

    weight: NDArray[np.float32]
    bias: float

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over its numbers."""
        return hashlib.sha256(self.weight.tobytes() + np.float64(self.bias).tobytes()).hexdigest()[:16]

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Features (N, D) -> scores (N,): the higher, the more likely generated."""
        scores: NDArray[np.float64] = features.astype(np.float64) @ self.weight.astype(np.float64) + self.bias
        return scores


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its head."""

    model: Model
    head: Head

    def probabilities(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Features (N, D) -> probabilities of being generated (N,)."""
        z = self.model.slope * self.head.scores(features) + self.model.bias
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        return probabilities

    def label(self, probability: float) -> Label:
        """The word for a probability."""
        if probability > self.model.fake_above:
            return "fake"
        return "real" if probability < self.model.real_below else "unsure"

    def check(self, backbone: Backbone) -> None:
        """Raise ModelError unless `backbone` makes the features that the head was trained on.

        Weights may be rounded to half precision on one side: a detector that was trained on a GPU runs on a CPU.
        """
        for what, mine, its in (
            ("weights", self.model.weights.removesuffix("-half"), backbone.weights.removesuffix("-half")),
            ("preprocessing", self.model.preprocessing, backbone.preprocessing.hash),
        ):
            if mine != its:
                raise ModelError(
                    f"the model {self.model.name} was trained on {self.model.backbone} with {what} {mine}, but "
                    f"{backbone.name} now has {its}; train it again, or use the version it was made with"
                )
        if len(self.head.weight) != backbone.dim:
            raise ModelError(f"the head of {self.model.name} takes {len(self.head.weight)} numbers, not {backbone.dim}")

    def save(self, folder: Path) -> None:
        """Write head.safetensors, then model.json, which says which head it is."""
        with atomic_write(folder / "head.safetensors") as temporary:
            bias = np.array([self.head.bias], dtype=np.float64)
            temporary.write_bytes(save({"weight": self.head.weight, "bias": bias}))
        with atomic_write(folder / "model.json") as temporary:
            temporary.write_text(self.model.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_model(folder: Path = BUNDLED) -> Trained:
    """Read a detector's folder. Raises ModelError if it is none."""
    try:
        model = Model.model_validate_json((folder / "model.json").read_bytes())
        tensors = load_file(folder / "head.safetensors")
        head = Head(tensors["weight"].astype(np.float32), float(tensors["bias"][0]))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{folder} is not a detector: it needs model.json and head.safetensors") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{folder / 'model.json'}: {where}: {first['msg']}") from None
    except (SafetensorError, KeyError, IndexError, OSError) as error:
        raise ModelError(f"{folder / 'head.safetensors'} cannot be read: {error}") from None
    if head.weight.ndim != 1 or head.hash != model.head:
        raise ModelError(f"{folder}: head.safetensors is not the head that model.json speaks of; train it again")
    return Trained(model, head)
