"""The commands `serve` and `add-key`, the first as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from changeling.backbones.onnx import OnnxBackbone
from changeling.cli import app
from changeling.errors import ChangelingError
from changeling.server.limits.keys import KeyRing, read_keys
from changeling.server.run import listen
from tests import helpers
from tests.server.helpers import make_files, make_picture, make_tiny_server, wait_until, wait_until_ready


def send(client: httpx.Client, files: Any) -> int:
    """Return the status of an answer, 0 if the service no longer listens, or has not read the request."""
    try:
        return client.post("/v1/detect?stable=true", files=files).status_code
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


def test_a_served_process_answers_admitted_requests_after_sigterm(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    command = [sys.executable, "-m", "changeling", "serve", "--port", "0", "--model", str(tmp_path / "model")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(word for word in process.stderr.readline().split() if word.startswith("http://"))
        with httpx.Client(base_url=address, timeout=300) as client:
            wait_until_ready(client)
            files = make_files(*(make_picture(seed) for seed in range(40)))
            with ThreadPoolExecutor(2) as threads:
                answers = [threads.submit(send, client, files) for _ in range(2)]
                wait_until(lambda: 'changeling_images_total{status="ok"}' in client.get("/metrics").text)
                process.send_signal(signal.SIGTERM)
                statuses = [answer.result() for answer in answers]
        output = process.stderr.read()
    assert 200 in statuses
    assert set(statuses) <= {200, 503, 0}
    assert process.returncode == 143
    assert output == "changeling: stopped\n"


def test_a_port_that_is_taken_is_an_error(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    helpers.tiny_detector(tiny_backbone).save(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", "--port", port, "--model", str(tmp_path / "model")])
    assert isinstance(result.exception, ChangelingError)
    assert "change --host or --port" in str(result.exception)


def test_a_free_port_cannot_be_taken_on_a_ray_cluster() -> None:
    result = CliRunner().invoke(app, ["serve", "--ray", "local", "--port", "0"])
    assert "name a port" in str(result.exception)


def test_a_service_that_cannot_start_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    server = make_tiny_server(tmp_path)
    monkeypatch.setattr(OnnxBackbone, "encode", fail)
    with listen("127.0.0.1", 0) as listening, pytest.raises(ChangelingError, match="cannot start: no room"):
        server.run([listening])


def test_add_key_prints_a_key_of_the_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["add-key", str(tmp_path / "keys"), "desk", "--rate", "7"])
    assert result.exit_code == 0
    key = KeyRing(read_keys(tmp_path / "keys")).find(result.output.strip())
    assert key is not None
    assert (key.name, key.requests_per_minute) == ("desk", 7)


def test_other_machines_without_keys_are_warned_of(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 (the service stops before it answers)
    result = CliRunner().invoke(app, ["serve", "--host", everywhere, "--port", "0", "--model", str(tmp_path)])
    assert f"warning: anybody who can reach {everywhere}" in result.output
    assert "is not a detector" in str(result.exception)
