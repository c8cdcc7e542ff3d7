"""Run the service with uvicorn."""

from __future__ import annotations

import asyncio
import os
import socket
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from changeling.errors import ChangelingError
from changeling.server.service import DetectionService

KEEP_ALIVE_SECONDS = 15
REQUEST_SECONDS = 10.0  # for the headers of a request to arrive; a silent connection is closed after at most twice that
MAX_CONNECTIONS = 800  # below the usual limit of 1,024 open files
STOP_SECONDS = 600  # after which a service that is stopped leaves clients that read ever so slowly


class Server(uvicorn.Server):
    """A server that refuses new work on SIGTERM or SIGINT, answers what it has admitted, and stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new work from now on."""
        self._service.admission.close()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop: after a signal, or if the service cannot start."""
        return await super().on_tick(counter) or self._service.failure is not None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal. Raises ChangelingError if the service cannot start."""
        super().run(sockets)
        if self._service.failure is not None:
            raise ChangelingError(f"the service cannot start: {self._service.failure}")

    @property
    def _service(self) -> DetectionService:
        service: DetectionService = cast(FastAPI, self.config.app).state.service
        return service


class TimedProtocol(H11Protocol):
    """HTTP that closes connections on which no request arrives in time, or whose answer is not read."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to check the connection."""
        super().connection_made(transport)
        self._check_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to check it."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _check_again(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._close_if_silent, self.cycle, unsent)

    def _close_if_silent(self, last_cycle: object, last_unsent: int) -> None:
        """Close the connection if nothing has happened on it since the last check, and no answer is awaited."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == last_unsent:
            self.transport.abort()
        elif unsent or is_answering or self.cycle is not last_cycle:
            self._check_again()
        else:
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; 0 takes a free port. Raises ChangelingError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError):
        raise ChangelingError(f"--host {host} is not an address of this machine") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ChangelingError(f"cannot listen on {host} port {port}: {reason}; change --host or --port") from None


def make_server(app: FastAPI) -> Server:
    """Return a server of an app that was made by `create_app`. It logs neither requests, addresses nor contents."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=TimedProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )
    return Server(config)
