"""The routes of the service. OpenAPI describes them from here."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from changeling import __version__
from changeling.detect.labelled import evaluate_verdicts
from changeling.server.api import answers, evaluation
from changeling.server.api.schemas import (
    SCHEMA_VERSION,
    DetectResponse,
    ErrorResponse,
    ExplainResponse,
    Health,
    ModelsResponse,
    Version,
)
from changeling.server.errors import ServiceError
from changeling.server.limits.uploads import FIELD, while_connected
from changeling.server.service import DetectedUpload, DetectionService

STATIC = Path(__file__).parents[1] / "static"


async def get_service(request: Request) -> DetectionService:
    """Return the service of an app."""
    service: DetectionService = request.app.state.service
    return service


ServiceDependency = Annotated[DetectionService, Depends(get_service)]
# documents that a key is required; `check_key` checks it
requires_key = Depends(HTTPBearer(auto_error=False, description="An API key (see `changeling add-key`)."))


async def check_key(request: Request, service: ServiceDependency) -> None:
    """Refuse a request without a valid key, or with one that was used too often. Raises ServiceError."""
    if not service.settings.api_keys:
        return
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    key = service.keys.find(text.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        message = "Send a valid API key in the header Authorization: Bearer KEY."
        raise ServiceError(HTTPStatus.UNAUTHORIZED, "no_key", message)
    if seconds := service.keys.take(key):
        message = f"This key allows {key.requests_per_minute} requests a minute; try again in {math.ceil(seconds)} s."
        raise ServiceError(HTTPStatus.TOO_MANY_REQUESTS, "key_rate", message, retry_after=seconds)


_MESSAGES = {
    401: "No valid API key.",
    408: "The request did not arrive in time.",
    413: "Too many bytes, or a picture of too many pixels.",
    415: "Not multipart, or no file is an image of a supported format.",
    422: "The request is invalid, or no file can be read.",
    429: "Busy: try again after the seconds in Retry-After.",
    503: "Starting or shutting down: try again after the seconds in Retry-After.",
}


def _describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse, "description": _MESSAGES[status]} for status in statuses}


def _describe_files(most: int | None) -> dict[str, Any]:
    """Return the OpenAPI description of a body with files."""
    files: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
    if most is not None:
        files["maxItems"] = most
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: files}, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


guarded = APIRouter(dependencies=[Depends(check_key)])
public = APIRouter()


@guarded.post(
    "/v1/detect",
    responses=_describe_errors(401, 408, 413, 415, 422, 429, 503),
    openapi_extra=_describe_files(None),
    response_model_exclude_unset=True,
)
async def detect(
    request: Request, service: ServiceDependency, stable: bool = False, evidence: bool = False
) -> DetectResponse:
    """Label images real, fake or unsure.

    Send the original bytes of one or many files in fields of the name `images`. A file that cannot be read is a row
    with an error, unless no file can be read. `stable` also judges each image re-saved, scaled and cropped, which
    takes seven times as long; `evidence` adds what each file says about its origin.
    """
    service.check_ready()
    async with service.uploads.read(request) as uploads:
        detected = await while_connected(request, service.detect(uploads, stable=stable, evidence=evidence))
        answers.check_readable(detected)
        rows = await asyncio.to_thread(answers.list_detections, detected, with_evidence=evidence)
    return DetectResponse(schema_version=SCHEMA_VERSION, model=answers.describe_model(service.detector), results=rows)


@guarded.post(
    "/v1/explain",
    responses=_describe_errors(401, 408, 413, 415, 422, 429, 503),
    openapi_extra=_describe_files(1),
)
async def explain(request: Request, service: ServiceDependency) -> ExplainResponse:
    """Say where in a picture its score comes from, and which training images are similar.

    Send one file. The contributions of the cells of a grid add up to the score. This takes about 120 times as long as
    a verdict; one explanation is made at a time, between verdicts.
    """
    service.check_ready()
    async with service.uploads.read(request, max_files=1) as uploads:
        explanation = await while_connected(request, service.explain(uploads[0]))
        if isinstance(explanation, DetectedUpload):
            raise answers.make_unreadable_error([explanation])
        result = await asyncio.to_thread(answers.describe_explanation, uploads[0], explanation)
    return ExplainResponse(schema_version=SCHEMA_VERSION, model=answers.describe_model(service.detector), result=result)


@guarded.post(
    "/v1/evaluate",
    responses=_describe_errors(401, 408, 413, 415, 422, 429, 503),
    openapi_extra=evaluation.describe_request(),
)
async def evaluate(request: Request, service: ServiceDependency) -> evaluation.EvaluateResponse:
    """Say what verdicts are worth on pictures of which the truth is known. Send the verdicts, not the pictures.

    The answer has a confusion matrix, error rates with exact intervals, the ROC curve, and the worst mistakes first.
    """
    service.check_running()
    async with evaluation.read_labelled_rows(request, service.uploads) as rows:
        evaluated = await asyncio.to_thread(evaluate_verdicts, rows)
    return evaluation.EvaluateResponse(schema_version=SCHEMA_VERSION, evaluation=evaluated)


@guarded.get("/v1/models", responses=_describe_errors(401, 429))
async def models(service: ServiceDependency) -> ModelsResponse:
    """Describe the detector: its thresholds, error rates, training set and card."""
    return ModelsResponse(schema_version=SCHEMA_VERSION, models=[answers.describe_card(service.detector, service.card)])


@guarded.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=_describe_errors(401, 429),
)
async def metrics(service: ServiceDependency) -> Response:
    """Return counts and times for Prometheus."""
    service.metrics.waiting_seconds.set(service.admission.waiting_seconds)
    service.metrics.waiting_pixels.set(service.admission.waiting_pixels)
    service.metrics.held_bytes.set(service.uploads.held_bytes)
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@public.get("/healthz")
async def healthz() -> Health:
    """Answer as long as the process lives."""
    return Health(status="ok")


@public.get("/readyz", responses=_describe_errors(503))
async def readyz(service: ServiceDependency) -> Health:
    """Answer 200 if the model is loaded and warm, and the service is not shutting down."""
    service.check_running()
    return Health(status="ok")


@public.get("/version")
async def version() -> Version:
    """Return the version of changeling, and of the answers' schema."""
    return Version(version=__version__, schema_version=SCHEMA_VERSION)


@public.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Return the page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
