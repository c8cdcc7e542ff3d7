"""The service on a Ray cluster: Ray Serve runs the app on each GPU or machine, and spreads requests over them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from changeling.detect.detector import Detector, Verdict
from changeling.detect.loading import LoadedImage
from changeling.distributed.pipeline import Shared
from changeling.distributed.session import connect_to_ray
from changeling.errors import DistributedError
from changeling.server.app import create_app
from changeling.server.inference import InferenceThread
from changeling.server.settings import ServerSettings

NAME = "changeling"  # of the application and the deployment
MAX_ONGOING_REQUESTS = 64  # in one process, which refuses work that would wait too long with 429
MAX_QUEUED_REQUESTS = 256  # that wait for a process; beyond it the answer is 503
MAX_BATCH_SIZE = 8  # images that a GPU judges at once; as many as a service loads ahead
BATCH_SECONDS = 0.01  # that an image waits for others
STOP_SECONDS = 60.0  # to answer what is admitted
_WITHOUT_REQUESTS = {"enable_access_log": False}

SharedDetector = Shared[tuple[Detector, ServerSettings, Path]]  # with the folder of the detector


@contextmanager
def run_on_ray(shared: SharedDetector, address: str, host: str, port: int) -> Iterator[None]:
    """Serve the detector on the Ray cluster at `address` during the block; its head listens on `host` and `port`.

    Each GPU or, without GPUs, each machine has a process with the app. On GPUs, images that wait are judged in batches.

    Raises:
        DistributedError: there is no such Ray cluster, it serves something already, or it fails.
    """
    with connect_to_ray(address) as ray:
        from ray import serve

        if serve.status().proxies:  # whose address cannot change, and whose applications must not end with this one
            raise DistributedError("this Ray cluster runs Ray Serve already; end that first (`serve shutdown`)")
        gpus = int(ray.cluster_resources().get("GPU", 0))
        machines = sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes())
        place: dict[str, Any] = {"ray_actor_options": {"num_cpus": 1}, "max_replicas_per_node": 1}
        if gpus:
            place = {"ray_actor_options": {"num_gpus": 1}}
        deploy: Any = serve.deployment(
            name=NAME,
            num_replicas=gpus or max(machines, 1),
            **place,
            max_ongoing_requests=MAX_ONGOING_REQUESTS,
            max_queued_requests=MAX_QUEUED_REQUESTS,
            graceful_shutdown_timeout_s=STOP_SECONDS,
        )
        deployment = deploy(serve.ingress(_make_builder(shared, with_batches=gpus > 0))())
        serve.start(
            proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=_WITHOUT_REQUESTS
        )
        try:
            serve.run(deployment.bind(), name=NAME, logging_config=_WITHOUT_REQUESTS)
            yield
        finally:
            serve.delete(NAME)  # answers what is admitted
            serve.shutdown()  # type: ignore[no-untyped-call]


def wait_for_signal() -> None:
    """Wait for SIGINT or SIGTERM. Ray's own handler would abort the process a few seconds after SIGTERM."""
    stopped = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    stopped.wait()
    signal.signal(signal.SIGINT, handlers[signal.SIGINT])  # a second Ctrl-C does not wait for answers


def _make_builder(shared: SharedDetector, *, with_batches: bool) -> Any:
    """Return a function that makes the app in a process of Ray Serve."""

    def build_app() -> FastAPI:
        detector, settings, folder = shared.unpack()
        return create_app(detector, settings, folder, make_batching_thread if with_batches else InferenceThread)

    return build_app


def make_batching_thread(*arguments: Any) -> InferenceThread:
    """Return an inference thread that judges images which wait at the same time as one batch."""
    from ray import serve

    class BatchingThread(InferenceThread):
        async def judge(self, image: LoadedImage, name: str) -> Verdict:
            verdict: Verdict = await self._judge_batch((image, name))
            return verdict

        @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=BATCH_SECONDS)
        async def _judge_batch(self, images: list[tuple[LoadedImage, str]]) -> list[Verdict]:
            return await asyncio.wrap_future(self._executor.submit(self._judge_all, images))

        def _judge_all(self, images: list[tuple[LoadedImage, str]]) -> list[Verdict]:
            features = self._encode(np.concatenate([image.pixels for image, _ in images]))
            ends = np.cumsum([len(image.pixels) for image, _ in images])[:-1]
            return [
                self._detector.judge_features(image, name, one)
                for (image, name), one in zip(images, np.split(features, ends), strict=True)
            ]

    return BatchingThread(*arguments)
