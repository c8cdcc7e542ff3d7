"""The ASGI app of the service: for uvicorn, or any other server of ASGI apps."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from changeling import __version__
from changeling.detect.detector import Detector
from changeling.detect.model import BUNDLED
from changeling.server.api.routes import STATIC, guarded, public, requires_key
from changeling.server.errors import add_error_handlers
from changeling.server.inference import InferenceThread, MakeThread
from changeling.server.middleware import RequestMetrics, SameSite, SecurityHeaders, UnexpectedErrors
from changeling.server.service import DetectionService
from changeling.server.settings import ServerSettings


def create_app(
    detector: Detector,
    settings: ServerSettings | None = None,
    folder: Path = BUNDLED,
    make_thread: MakeThread = InferenceThread,
) -> FastAPI:
    """Return an app that serves a detector.

    Args:
        detector: gives the verdicts.
        settings: the limits, by default those of `ServerSettings`.
        folder: of the detector, for its card and its training images.
        make_thread: makes what runs the model.

    Raises:
        ModelError: the detector's training images cannot be read.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes invalid bodies
    settings = settings or ServerSettings()
    service = DetectionService(detector, settings, folder, make_thread)

    @asynccontextmanager
    async def run_service(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="changeling",
        version=__version__,
        description="Tells images made by text-to-image models from natural ones. Nothing that is sent is stored.",
        docs_url=None,  # those of FastAPI load scripts from elsewhere
        redoc_url=None,
        lifespan=run_service,
    )
    app.state.service = service
    add_error_handlers(app)
    app.include_router(guarded, dependencies=[requires_key] if settings.api_keys else [])
    app.include_router(public)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(SameSite, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics, metrics=service.metrics)
    return app
