"""Verdicts, explanations and models as the schemas of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from changeling import __version__
from changeling.detect.detector import Detector
from changeling.detect.explanation.explain import Explanation
from changeling.server.api.schemas import (
    Detection,
    EvidenceItem,
    Explained,
    GridCell,
    ModelDescription,
    ServedModel,
    Thresholds,
    TrainingImage,
)
from changeling.server.errors import ServiceError
from changeling.server.limits.uploads import Upload
from changeling.server.service import DetectedUpload

_ERRORS = {  # of files that cannot be read, by status; all others are 422
    "oversized": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


def describe_model(detector: Detector) -> ServedModel:
    """Return the detector that gives an answer."""
    return ServedModel(**_get_model_fields(detector))


def describe_card(detector: Detector, card: str | None) -> ModelDescription:
    """Return the detector with its training set and its card."""
    return ModelDescription(**_get_model_fields(detector), trained_on=detector.model.trained_on, card=card)


def check_readable(detected: Sequence[DetectedUpload]) -> None:
    """Raise ServiceError (413, 415 or 422) if none of the uploads can be read."""
    if all(one.verdict is None for one in detected):
        raise make_unreadable_error(detected)


def make_unreadable_error(detected: Sequence[DetectedUpload]) -> ServiceError:
    """Return the error for uploads of which none can be read, in the words of the first."""
    statuses = {_ERRORS.get(one.status, HTTPStatus.UNPROCESSABLE_ENTITY) for one in detected}
    status = statuses.pop() if len(statuses) == 1 else HTTPStatus.UNPROCESSABLE_ENTITY
    first = detected[0]
    what = "The file" if len(detected) == 1 else f"None of {len(detected)} files can be read; the first"
    return ServiceError(status, first.status, f"{what} {_clean(first.error or 'cannot be read')}.")


def list_detections(detected: Sequence[DetectedUpload], *, with_evidence: bool) -> list[Detection]:
    """Return the rows of an answer. Hashes the files."""
    rows = []
    for one in detected:
        fields: dict[str, Any] = _get_upload_fields(one.upload) | {"status": one.status}
        fields["error"] = None if one.error is None else _clean(one.error)
        for name in ("label", "probability", "reason", "lowest", "highest"):
            fields[name] = getattr(one.verdict, name, None)
        if with_evidence:
            fields["evidence"] = [EvidenceItem.model_validate(_clean_all(asdict(item))) for item in one.evidence]
        rows.append(Detection(**fields))
    return rows


def describe_explanation(upload: Upload, explanation: Explanation) -> Explained:
    """Return an explanation. Hashes the file."""
    contributions = explanation.contributions
    nearest = explanation.nearest
    return Explained(
        **_get_upload_fields(upload),
        width=explanation.width,
        height=explanation.height,
        probability=explanation.probability,
        score=contributions.score,
        blurred_score=contributions.blurred_score,
        rows=contributions.rows,
        cells=[GridCell(**asdict(cell)) for cell in contributions.cells],
        passes=contributions.passes,
        nearest=None if nearest is None else [TrainingImage(**asdict(image)) for image in nearest],
        distance_rank=explanation.distance_rank,
    )


def _get_model_fields(detector: Detector) -> dict[str, Any]:
    model = detector.model
    return {
        "name": model.name,
        "backbone": model.backbone,
        "version": __version__,
        "thresholds": Thresholds(real=model.real_below, fake=model.fake_above),
        "false_positive_rate": model.false_positives.rate if model.false_positives else None,
        "false_negative_rate": model.false_negatives.rate if model.false_negatives else None,
        "prior": detector.trained.prior,
    }


def _get_upload_fields(upload: Upload) -> dict[str, Any]:
    return {"name": upload.name, "sha256": upload.file.sha256, "bytes": len(upload.file.data)}


def _clean_all(value: Any) -> Any:
    """Return a value with all its texts cleaned."""
    if isinstance(value, dict):
        return {_clean_all(key): _clean_all(one) for key, one in value.items()}
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    """Return a text that may quote a file, so that UTF-8 can encode it."""
    return text.encode("utf-8", "replace").decode()
