"""The service under Ray Serve gives the verdicts of the detector, each to the client that sent the picture."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.detector import Detector
from changeling.detect.loading import load_image
from changeling.distributed.pipeline import Shared
from changeling.errors import DistributedError
from changeling.images.decode import ImageFile
from changeling.server.ray_serve import make_batching_thread, run_on_ray, wait_for_signal
from changeling.server.run import listen
from changeling.server.settings import ServerSettings
from tests import helpers
from tests.server.helpers import make_files, make_picture, wait_until_ready

pytest.importorskip("ray.serve")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

COUNT = 12


@pytest.fixture
def detector(tiny_backbone: OnnxBackbone) -> Detector:
    return Detector(helpers.tiny_detector(tiny_backbone), tiny_backbone)


@pytest.fixture
def gpu_cluster(ray_cluster: Any) -> Iterator[Any]:
    """The Ray cluster with a node that claims to have a GPU: its process judges images in batches."""
    node = ray_cluster.add_node(num_cpus=1, num_gpus=1)
    yield ray_cluster
    ray_cluster.remove_node(node)


def test_each_answer_is_that_of_its_picture(gpu_cluster: Any, detector: Detector, tmp_path: Path) -> None:
    detector.trained.save(tmp_path / "model")
    pictures = [make_picture(seed, fake=seed % 2 == 1) for seed in range(COUNT)]
    preprocessing = detector.backbone.preprocessing
    expected = [detector.judge(load_image(ImageFile("", data), preprocessing), "0.png") for data in pictures]
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    shared = Shared.pack((detector, ServerSettings(decoding_processes=1), tmp_path / "model"))
    with (
        run_on_ray(shared, gpu_cluster.address, "127.0.0.1", port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        wait_until_ready(client)
        with (
            pytest.raises(DistributedError, match="runs Ray Serve already"),
            run_on_ray(shared, gpu_cluster.address, "127.0.0.1", port + 1),
        ):
            pass
        answers = list(pool.map(lambda data: client.post("/v1/detect", files=make_files(data)), pictures))
        stable = client.post("/v1/detect?stable=true", files=make_files(*pictures[:3])).json()["results"]
        assert client.post("/v1/detect", files=make_files(b"no image")).status_code == 415
    for answer, data, verdict in zip(answers, pictures, expected, strict=True):
        assert answer.status_code == 200
        (row,) = answer.json()["results"]
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert (row["label"], row["reason"]) == (verdict.label, verdict.reason)
        assert row["probability"] == pytest.approx(verdict.probability, abs=1e-6)
    for row, answer in zip(stable, answers, strict=False):
        assert row["lowest"] <= row["probability"] <= row["highest"]
        assert row["sha256"] == answer.json()["results"][0]["sha256"]


def test_a_batch_is_encoded_at_once_and_gives_the_verdicts_of_single_pictures(detector: Detector) -> None:
    preprocessing = detector.backbone.preprocessing
    images = [load_image(ImageFile("", make_picture(seed)), preprocessing) for seed in range(5)]
    sizes: list[int] = []
    thread: Any = make_batching_thread(detector, lambda _, passes: sizes.append(passes))
    verdicts = thread._judge_all([(image, f"{number}.png") for number, image in enumerate(images)])
    assert sizes == [len(images)]
    for number, (verdict, image) in enumerate(zip(verdicts, images, strict=True)):
        alone = detector.judge(image, f"{number}.png")
        assert (verdict.path, verdict.label) == (alone.path, alone.label)
        assert verdict.probability == pytest.approx(alone.probability, abs=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service_without_an_exception(number: signal.Signals) -> None:
    handlers = [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM)]
    timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
    timer.start()
    try:
        wait_for_signal()
        assert signal.getsignal(signal.SIGINT) == handlers[0]
    finally:
        signal.signal(signal.SIGTERM, handlers[1])
    timer.join()
