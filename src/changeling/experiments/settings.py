"""The settings of experiments; every setting that the paper leaves open has a name here."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from changeling.stats.metrics import Distance

Name = Literal["distances", "probe", "retrieval", "disentangle", "embedding", "gallery", "confounds"]
NAMES: tuple[Name, ...] = get_args(Name)  # the paper's order, then ours


class Settings(BaseModel):
    """Settings of an experiment, or of a study: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DistancesSettings(Settings):
    """Table 1."""

    distance: Distance = "cosine"


class ProbeSettings(Settings):
    """Table 2. `C` is swept on the validation split unless it is given."""

    children: Literal["one", "all"] = "one"  # one random child a cluster, or all; classes weigh the same either way
    C: float | None = Field(default=None, gt=0)
    train_on: str = "all"  # whose children Table 2's probe is trained on: a generator, or "all"


class DisentangleSettings(Settings):
    """Table 4."""

    temperature: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    lr: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=25, ge=1)
    batch: int = Field(default=1024, ge=8)  # images; the nearest number of whole clusters is taken
    C: float = Field(default=1.0, gt=0)  # of the probe on S; scikit-learn's default
    curve: bool = True  # also the curve over C and the non-linear probe


class EmbeddingSettings(Settings):
    """Figures 6 and 7."""

    backbone: str = ""  # default: the study's last
    clusters: int = Field(default=1000, ge=8)  # drawn from the validation split, or from test where that has too few
    perplexity: float = Field(default=30.0, gt=1)


class GallerySettings(Settings):
    """Figures 1, 3, 4 and 5."""

    backbone: str = ""  # default: the study's first
    clusters: int = Field(default=12, ge=1)
    pictures: int = Field(default=10, ge=1)
