"""The answers of the service, as they are checked, documented and sent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from changeling.detect.detector import Reason
from changeling.detect.evidence.evidence import Kind, State, Suggestion
from changeling.detect.model import Label
from changeling.errors import Status

SCHEMA_VERSION = 1
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # in examples


class Thresholds(BaseModel):
    """Probabilities: an image is real below the one, fake above the other, and unsure in between."""

    real: float = Field(examples=[0.16])
    fake: float = Field(examples=[0.95])


class ServedModel(BaseModel):
    """The detector that gave an answer."""

    name: str = Field(examples=["changeling-2"])
    backbone: str = Field(examples=["clip-vit-b16@blocks"])
    version: str = Field(description="Of changeling.", examples=["0.3.0"])
    thresholds: Thresholds
    false_positive_rate: float | None = Field(
        description="Share of a source's real images that may be called fake; null if it is unknown.", examples=[0.01]
    )
    false_negative_rate: float | None = Field(
        description="Share of a source's generated images that may be called real; null if it is unknown.",
        examples=[0.2],
    )
    prior: float = Field(description="Share of generated images for which probabilities are stated.", examples=[0.5])


class EvidenceItem(BaseModel):
    """What one kind of metadata says about the origin of a file. It has no part in the verdict."""

    kind: Kind
    state: State
    summary: str
    suggests: Suggestion | None
    worth: str
    forging: str
    details: dict[str, str]


class Detection(BaseModel):
    """The verdict on one uploaded file, or why it cannot be read."""

    name: str = Field(description="The file's name, without folders.", examples=["photo.jpg"])
    sha256: str = Field(description="Of the bytes that were judged.", examples=[SHA256])
    bytes: int = Field(examples=[123456])
    status: Status | Literal["timeout", "crashed"] = Field(description="ok, or why the file cannot be read.")
    error: str | None = Field(description="The same as a sentence.", examples=[None])
    label: Label | None
    probability: float | None = Field(description="Of being generated.", examples=[0.97])
    reason: Reason | None = Field(description="Why the label is unsure.", examples=[None])
    lowest: float | None = Field(description="Probability over re-saved copies, with `stable`.", examples=[None])
    highest: float | None = Field(examples=[None])
    evidence: list[EvidenceItem] = Field(default=[], description="Only with `evidence`.")


class DetectResponse(BaseModel):
    """Verdicts on the uploaded files, in their order."""

    schema_version: Literal[1]
    model: ServedModel
    results: list[Detection]


class GridCell(BaseModel):
    """A cell of the picture, and its contribution to the score."""

    box: tuple[float, float, float, float] = Field(description="Left, top, right and bottom, in pixels.")
    contribution: float = Field(description="In log-odds: above 0 toward fake, below 0 toward real.")
    margin: float = Field(description="Half the width of its 95 % interval.")


class TrainingImage(BaseModel):
    """A training image that is similar to the picture."""

    source: str
    generator: str | None
    label: Literal["real", "fake"]
    distance: float


class Explained(BaseModel):
    """Where the score of a picture comes from: `blurred_score` and all contributions add up to `score`."""

    name: str
    sha256: str
    bytes: int
    width: int
    height: int
    probability: float
    score: float = Field(description="In log-odds.")
    blurred_score: float = Field(description="Of the blurred picture.")
    rows: int = Field(description="Of the grid, which has as many columns.")
    cells: list[GridCell] = Field(description="Row by row.")
    passes: int = Field(description="How many pictures went through the backbone.")
    nearest: list[TrainingImage] | None = Field(description="Null if the detector does not store training images.")
    distance_rank: float | None


class ExplainResponse(BaseModel):
    """The explanation of one score."""

    schema_version: Literal[1]
    model: ServedModel
    result: Explained


class ModelDescription(ServedModel):
    """A detector, with its training set and its card."""

    trained_on: dict[str, str | int] = Field(description="Counts of sources and images, by name.")
    card: str | None = Field(description="The model card, in Markdown.")


class ModelsResponse(BaseModel):
    """The detectors that the service runs: one."""

    schema_version: Literal[1]
    models: list[ModelDescription]


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ok"]


class Version(BaseModel):
    """What the service is made of."""

    version: str
    schema_version: Literal[1]


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    code: str = Field(examples=["busy"])
    message: str = Field(examples=["The service has as much work as it takes; try again in 3 s."])


class ErrorResponse(BaseModel):
    """The answer to a request that is refused."""

    model_config = ConfigDict(extra="forbid")

    error: ErrorDetail
