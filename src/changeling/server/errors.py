"""Errors of the service, and the answers that they become: `{"error": {"code", "message"}}`."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

logger = logging.getLogger("changeling.server")


class ServiceError(Exception):
    """A request that is not answered as asked.

    Attributes:
        status: of the answer.
        code: one word for programs.
        message: one sentence for people.
        retry_after: seconds after which the same request may succeed; None if it will not.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def add_error_handlers(app: FastAPI) -> None:
    """Give all errors of an app the same shape."""
    app.add_exception_handler(ServiceError, _answer_service_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)


def make_error_response(error: ServiceError) -> JSONResponse:
    """Return the answer for an error."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(math.ceil(error.retry_after), 1))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status, headers)


async def _answer_service_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    if not isinstance(error, ServiceError):
        raise error
    return make_error_response(error)


async def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """Answer what the framework refuses by itself: no such path, another method."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    response = make_error_response(ServiceError(status, status.name.lower(), f"{status.phrase}."))
    response.headers.update(error.headers or {})
    return response


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """Answer 422, without quoting the request."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{where}: {first['msg']}."
    return make_error_response(ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", message))
