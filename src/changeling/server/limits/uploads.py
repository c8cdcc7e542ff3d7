"""Read the files of a request into memory, within limits of bytes and time. Nothing is written to disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from changeling.images.decode import ImageFile
from changeling.server.errors import ServiceError
from changeling.server.settings import MIB, ServerSettings

T = TypeVar("T")
FIELD = "images"
MAX_NAME = 255  # characters
_DISCARDED_BYTES = 4  # times the limit: a client that has sent its whole request reads the answer
_DISCARDING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a request: its name, without folders, and its bytes."""

    name: str
    file: ImageFile


class UploadReader:
    """Reads uploads, and counts the bytes that are held for all requests together."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request, max_files: int | None = None) -> AsyncIterator[list[Upload]]:
        """Read the files of a request; their bytes count as held until the block ends.

        Raises:
            ServiceError: 408, 413, 415, 422 or 429.
        """
        self._check_headers(request.headers)
        body = _Body(request, self._settings.max_body_bytes, self)
        try:
            try:
                async with asyncio.timeout(self._settings.upload_seconds):
                    uploads = await _read_files(request.headers, body, max_files or self._settings.max_files)
            except TimeoutError:
                seconds = f"{self._settings.upload_seconds:g}"
                message = f"The request did not arrive within {seconds} s; send fewer or smaller files."
                raise ServiceError(HTTPStatus.REQUEST_TIMEOUT, "slow_upload", message) from None
            except ServiceError:
                await body.discard()
                raise
            yield uploads
        finally:
            self.held_bytes -= body.received

    def hold(self, size: int) -> None:
        """Count bytes as held. Raises ServiceError (429) if they are too many."""
        if self.held_bytes + size > self._settings.max_held_bytes:
            message = "The service holds as many uploads as it can; try again in 2 s."
            raise ServiceError(HTTPStatus.TOO_MANY_REQUESTS, "busy", message, retry_after=2)
        self.held_bytes += size

    def _check_headers(self, headers: Headers) -> None:
        """Refuse a request whose headers say that it cannot be read, before its body arrives. Raises ServiceError."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            message = f"Send files as multipart/form-data, in fields of the name {FIELD}."
            raise ServiceError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_multipart", message)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._settings.max_body_bytes and "expect" in headers:
            raise _oversized_error(self._settings.max_body_bytes)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of some work for a request; it is cancelled if the client goes away. Raises ServiceError."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _disconnected_error()
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Parser(MultiPartParser):
    """Holds all files in memory."""

    spool_max_size = 0


class _Body:
    """The body of a request, as it arrives."""

    def __init__(self, request: Request, limit: int, reader: UploadReader) -> None:
        self._stream = request.stream()
        self._limit = limit
        self._reader = reader
        self.received = 0  # bytes that the reader counts as held

    async def read_chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body. Raises ServiceError if they are too many bytes."""
        async for chunk in self._stream:
            if self.received + len(chunk) > self._limit:
                raise _oversized_error(self._limit)
            self._reader.hold(len(chunk))
            self.received += len(chunk)
            yield chunk

    async def discard(self) -> None:
        """Receive and forget what is left, within limits: many clients read the answer only after that."""
        left = _DISCARDED_BYTES * self._limit
        try:
            async with asyncio.timeout(_DISCARDING_SECONDS):
                async for chunk in self._stream:
                    left -= len(chunk)
                    if left < 0:
                        return
        except (TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: all of it was received
            return


async def _read_files(headers: Headers, body: _Body, max_files: int) -> list[Upload]:
    try:
        fields = await _Parser(headers, body.read_chunks(), max_files=max_files, max_fields=16).parse()
    except ServiceError:
        raise
    except ClientDisconnect:
        raise _disconnected_error() from None
    except MultiPartException as error:
        raise _invalid_error(error.message.rstrip(".")) from None
    except Exception:  # the parser raises all kinds of exceptions on broken data
        raise _invalid_error("The body is not valid multipart/form-data") from None
    return await _take_uploads(fields)


async def _take_uploads(fields: FormData) -> list[Upload]:
    """Return the files of a form in their order. Raises ServiceError if there are none, or other fields."""
    uploads = []
    try:
        for field, value in fields.multi_items():
            if field != FIELD or not isinstance(value, UploadFile):
                raise _invalid_error(f"Each part of the request must be a file in a field of the name {FIELD}")
            uploads.append(Upload(_clean_name(value.filename or ""), ImageFile("", await value.read())))
    finally:
        await fields.close()
    if not uploads:
        raise _invalid_error(f"The request has no files in fields of the name {FIELD}")
    return uploads


def _clean_name(name: str) -> str:
    """Return the base name of an uploaded file, which UTF-8 can encode."""
    base = re.split(r"[/\\]", name)[-1][:MAX_NAME]
    return base.encode("utf-8", "replace").decode()


def _disconnected_error() -> ServiceError:
    """Return an error that only the metrics see."""
    return ServiceError(HTTPStatus.BAD_REQUEST, "disconnected", "The client went away.")


def _invalid_error(message: str) -> ServiceError:
    return ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"{message}.")


def _oversized_error(limit: int) -> ServiceError:
    message = f"The request has more than {limit / MIB:g} MiB; send fewer or smaller files."
    return ServiceError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)
