"""A real service with a tiny detector, on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from changeling.detect.detector import Detector
from changeling.server.app import create_app
from changeling.server.run import Server, listen, make_server
from changeling.server.service import DetectionService
from changeling.server.settings import ServerSettings
from tests import helpers, hostile

PATIENCE = 300  # seconds to wait for what comes in seconds on an idle machine
QUICK = ServerSettings(decoding_processes=1)


def make_tiny_server(folder: Path, settings: ServerSettings = QUICK) -> Server:
    """A server of a tiny detector, with its files in a folder."""
    backbone = helpers.tiny_backbone(helpers.tiny_onnx(folder / "tiny.onnx"))
    trained = helpers.tiny_detector(backbone)
    trained.save(folder / "model")
    (folder / "model" / "README.md").write_text("# tiny\n")
    return make_server(create_app(Detector(trained, backbone), settings, folder / "model"))


@contextmanager
def run_server(folder: Path, settings: ServerSettings = QUICK, port: int = 0) -> Iterator[tuple[Server, str]]:
    """Yield a server of a tiny detector that runs in a thread, and its address; port 0 is a free one."""
    server = make_tiny_server(folder, settings)
    listening = listen("127.0.0.1", port)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def run_service(
    folder: Path, settings: ServerSettings = QUICK, port: int = 0
) -> Iterator[tuple[httpx.Client, DetectionService]]:
    """Yield a client of a service in a thread, and the service, when it is ready."""
    with run_server(folder, settings, port) as (server, address), httpx.Client(base_url=address, timeout=300) as client:
        wait_until_ready(client)
        yield client, get_service(server)


def get_service(server: Server) -> DetectionService:
    """Return the service that a server runs."""
    service: DetectionService = server.config.app.state.service  # type: ignore[union-attr]
    return service


def wait_until_ready(client: httpx.Client) -> None:
    """Wait until a service takes work."""
    wait_until(lambda: client.get("/readyz").status_code == 200)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait until something is true; fail after minutes, so that a loaded machine does not."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def make_picture(seed: int = 0, *, fake: bool = False) -> bytes:
    """A picture that the tiny detector can judge, as PNG."""
    return hostile.saved((helpers.generated if fake else helpers.natural)(seed), "PNG")


def make_files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Files for a request of httpx."""
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]
