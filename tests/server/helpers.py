"""A real service with a tiny detector, on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from changeling.detect.detector import Detector
from changeling.server.app import create_app
from changeling.server.run import make_server
from changeling.server.service import DetectionService
from changeling.server.settings import ServerSettings
from tests import helpers, hostile

QUICK = ServerSettings(decoding_processes=1)


@contextmanager
def run_service(folder: Path, settings: ServerSettings = QUICK) -> Iterator[tuple[httpx.Client, DetectionService]]:
    """Yield a client of a service in a thread, and the service, when it is ready."""
    backbone = helpers.tiny_backbone(helpers.tiny_onnx(folder / "tiny.onnx"))
    trained = helpers.tiny_detector(backbone)
    trained.save(folder / "model")
    (folder / "model" / "README.md").write_text("# tiny\n")
    app = create_app(Detector(trained, backbone), settings, folder / "model")
    server = make_server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client)
            yield client, app.state.service
    finally:
        server.should_exit = True
        thread.join()


def wait_until_ready(client: httpx.Client) -> None:
    """Wait until a service takes work."""
    while client.get("/readyz").status_code != 200:
        time.sleep(0.05)


def make_picture(seed: int = 0, *, fake: bool = False) -> bytes:
    """A picture that the tiny detector can judge, as PNG."""
    return hostile.saved((helpers.generated if fake else helpers.natural)(seed), "PNG")


def make_files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Files for a request of httpx."""
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]
