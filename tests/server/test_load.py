"""Many clients at a time, and a service that is stopped while it works."""

from __future__ import annotations

import gc
import hashlib
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from changeling.backbones.onnx import OnnxBackbone
from changeling.server.inference import InferenceThread
from changeling.server.service import DetectionService
from tests.server.helpers import (
    PATIENCE,
    get_service,
    make_files,
    make_picture,
    run_server,
    run_service,
    wait_until,
    wait_until_ready,
)

Served = tuple[httpx.Client, DetectionService]


def test_answers_of_many_clients_are_not_mixed_up(
    served: tuple[httpx.Client, DetectionService], tmp_path: Path
) -> None:
    client, service = served
    pictures = [make_picture(seed, fake=seed % 3 == 0) for seed in range(12)]
    paths = [tmp_path / f"{seed}.png" for seed in range(12)]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture)
    expected = {
        hashlib.sha256(picture).hexdigest(): verdict.probability
        for picture, verdict in zip(pictures, service.detector.detect(paths), strict=True)
    }

    def check_answers(seed: int) -> None:
        draw = random.Random(seed)
        with httpx.Client(base_url=client.base_url, timeout=300) as own_client:
            for _ in range(5):
                sent = [*draw.choices([*pictures, b"not an image"], k=3), draw.choice(pictures)]
                results = own_client.post("/v1/detect", files=make_files(*sent)).json()["results"]
                for number, (content, result) in enumerate(zip(sent, results, strict=True)):
                    digest = hashlib.sha256(content).hexdigest()
                    assert (result["name"], result["sha256"]) == (f"{number}.png", digest)
                    probability = expected.get(digest)
                    assert result["probability"] == (None if probability is None else pytest.approx(probability))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(check_answers, range(8)))
    assert service.uploads.held_bytes == 0
    assert service.admission.waiting_passes == 0
    assert service.admission.waiting_pixels == 0


@pytest.fixture
def slow_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each pass through a backbone take 0.05 s."""
    encode = OnnxBackbone.encode

    def encode_slowly(backbone: OnnxBackbone, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(0.05 * len(pixels))
        return encode(backbone, pixels)

    monkeypatch.setattr(OnnxBackbone, "encode", encode_slowly)


def test_a_stopped_service_answers_what_it_has_admitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open = threading.Event()  # passes through the backbone wait for it
    is_open.set()
    encode = OnnxBackbone.encode

    def encode_when_open(backbone: OnnxBackbone, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        assert is_open.wait(PATIENCE)
        return encode(backbone, pixels)

    monkeypatch.setattr(OnnxBackbone, "encode", encode_when_open)
    with run_server(tmp_path) as (server, address), httpx.Client(base_url=address, timeout=PATIENCE) as client:

        def send(seed: int) -> int:
            try:
                return client.post("/v1/detect", files=make_files(make_picture(seed))).status_code
            except httpx.TransportError:  # the service no longer listens
                return 0

        wait_until_ready(client)
        admission = get_service(server).admission
        admission.seconds_per_pass = 0.0
        is_open.clear()
        with ThreadPoolExecutor(12) as threads:
            answers = [threads.submit(send, seed) for seed in range(12)]
            wait_until(lambda: admission.waiting_passes == 12)
            server.handle_exit(signal.SIGTERM, None)
            assert send(12) in (503, 0)
            is_open.set()
            assert [answer.result() for answer in answers] == [200] * 12


def test_work_of_a_client_that_goes_away_is_dropped(
    tmp_path: Path, slow_backbone: None, caplog: pytest.LogCaptureFixture
) -> None:
    with run_service(tmp_path) as (client, service):
        with pytest.raises(httpx.TimeoutException):
            client.post("/v1/explain", files=make_files(make_picture()), timeout=0.3)
        wait_until(lambda: not service.admission.waiting_passes)
        assert client.post("/v1/detect", files=make_files(make_picture())).status_code == 200
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []  # no exception is left


def test_verdicts_are_given_while_a_picture_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open = threading.Event()  # batches of the explanation wait for it before their turn
    encode = InferenceThread.encode

    def encode_when_open(thread: InferenceThread, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        assert is_open.wait(PATIENCE)
        return encode(thread, pixels)

    monkeypatch.setattr(InferenceThread, "encode", encode_when_open)
    with run_service(tmp_path) as (client, service), ThreadPoolExecutor(1) as thread:
        explaining = thread.submit(client.post, "/v1/explain", files=make_files(make_picture()))
        try:
            wait_until(lambda: service.admission.waiting_passes > 0)
            assert client.post("/v1/explain", files=make_files(make_picture(1))).status_code == 429
            assert client.post("/v1/detect", files=make_files(make_picture())).status_code == 200
            assert not explaining.done()
        finally:
            is_open.set()
        assert explaining.result().status_code == 200
