"""The request and the answer of an evaluation: verdicts on labelled pictures, without the pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from changeling.detect.labelled import Evaluation, Truth
from changeling.detect.model import Label
from changeling.server.errors import ServiceError
from changeling.server.limits.uploads import UploadReader
from changeling.server.settings import MIB

MAX_VERDICTS = 20_000
_MAX_BYTES = 4 * MIB
_BODY_SECONDS = 30.0


class LabelledRow(BaseModel):
    """A verdict, and what the picture is in truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    truth: Truth = Field(examples=["fake"])
    label: Label | None = Field(description="Null if the file could not be read.", examples=["unsure"])
    probability: float | None = Field(ge=0, le=1, allow_inf_nan=False, examples=[0.7])


class EvaluateRequest(BaseModel):
    """Verdicts of `POST /v1/detect` on pictures of which the truth is known."""

    model_config = ConfigDict(extra="forbid")

    verdicts: list[LabelledRow] = Field(min_length=1, max_length=MAX_VERDICTS)


class EvaluateResponse(BaseModel):
    """What the verdicts are worth. `mistakes` are positions in the list of verdicts that was sent."""

    schema_version: Literal[1]
    evaluation: Evaluation


def describe_request() -> dict[str, Any]:
    """Return the OpenAPI description of the body."""
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_VERDICTS, "items": LabelledRow.model_json_schema()}
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["verdicts"],
        "properties": {"verdicts": rows},
        "additionalProperties": False,
    }
    example = {"verdicts": [{"truth": "real", "label": "real", "probability": 0.1}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@asynccontextmanager
async def read_labelled_rows(request: Request, uploads: UploadReader) -> AsyncIterator[list[LabelledRow]]:
    """Read the body of a request, within limits of bytes and time; it counts as held until the block ends.

    Raises:
        ServiceError: 408, 413, 415, 422 or 429.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ServiceError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", "Send verdicts as application/json.")
    body = bytearray()
    try:
        await _read_body(request, body, uploads)
        yield await _parse_rows(body)
    finally:
        uploads.held_bytes -= len(body)


async def _read_body(request: Request, body: bytearray, uploads: UploadReader) -> None:
    """Append the body of a request, and count its bytes as held. Raises ServiceError."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > _MAX_BYTES:
                    message = f"The request has more than {_MAX_BYTES / MIB:g} MiB; send fewer verdicts."
                    raise ServiceError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)
                uploads.hold(len(chunk))
                body += chunk
    except TimeoutError:
        message = f"The request did not arrive within {_BODY_SECONDS:g} s."
        raise ServiceError(HTTPStatus.REQUEST_TIMEOUT, "slow_upload", message) from None
    except ClientDisconnect:
        raise ServiceError(HTTPStatus.BAD_REQUEST, "disconnected", "The client went away.") from None


async def _parse_rows(body: bytearray) -> list[LabelledRow]:
    """Return the verdicts of a body. Raises ServiceError (422)."""
    try:
        return (await asyncio.to_thread(EvaluateRequest.model_validate_json, body)).verdicts
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"{where}: {first['msg']}.") from None
