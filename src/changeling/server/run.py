"""Run the service with uvicorn."""

from __future__ import annotations

import asyncio
import logging
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


class Server(uvicorn.Server):
    """A server that refuses new work on SIGTERM or SIGINT, answers what it has admitted, and stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new work from now on."""
        app = cast(FastAPI, self.config.app)
        service: DetectionService = app.state.service
        service.admission.close()
        super().handle_exit(sig, frame)


class TimedProtocol(H11Protocol):
    """HTTP that closes connections on which no request arrives in time."""

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
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._close_if_silent, self.cycle)

    def _close_if_silent(self, last_cycle: object) -> None:
        """Close the connection if it has had no request since the last check, and none is being answered."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is last_cycle and not is_answering:
            self.transport.close()
        else:
            self._check_again()


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
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes invalid bodies
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
        limit_concurrency=MAX_CONNECTIONS,
    )
    return Server(config)
