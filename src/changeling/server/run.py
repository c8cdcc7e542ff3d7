"""Run the service with uvicorn."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from changeling.server.service import DetectionService

KEEP_ALIVE_SECONDS = 15
MAX_CONNECTIONS = 1000


class Server(uvicorn.Server):
    """A server that refuses new work on SIGTERM or SIGINT, answers what it has admitted, and stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new work from now on."""
        service: DetectionService = self.config.app.state.service  # type: ignore[union-attr]
        service.admission.close()
        super().handle_exit(sig, frame)


def make_server(app: FastAPI, host: str, port: int) -> Server:
    """Return a server of an app that was made by `create_app`. It logs neither requests nor addresses."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http="h11",
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
