"""Encode many images with one backbone: threads decode the next images while a batch is encoded."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from changeling.backbones.registry import Backbone
from changeling.errors import ImageError, Status

Job = TypeVar("Job")  # identifies an image: a path, or a row of a dataset
Load = Callable[[Job], NDArray[np.float32]]  # job -> pixels (3, H, W); may raise ImageError
Pending = deque[tuple[Job, Future[NDArray[np.float32]]]]  # jobs that are being loaded, in order


@dataclass(frozen=True, slots=True)
class Encoded(Generic[Job]):
    """The result of one job: a feature (D,), or None with a status and an error."""

    job: Job
    feature: NDArray[np.float32] | None
    status: Status = "ok"
    error: str | None = None


def encode(
    jobs: Iterable[Job],
    load: Load[Job],
    backbone: Backbone,
    *,
    batch_size: int = 8,
    workers: int | None = None,
) -> Iterator[Encoded[Job]]:
    """Load the pixels (3, H, W) of each job and encode them in batches; yield the results in the order of `jobs`.

    `load` runs in `workers` threads. A job for which it raises ImageError is yielded with the status of the error. At
    most four batches of jobs are held at a time, however many jobs there are and however many of them fail.
    """
    jobs = iter(jobs)
    with ThreadPoolExecutor(workers or count_decoding_threads()) as pool:
        pending: Pending[Job] = deque()

        def submit_jobs() -> None:
            for job in itertools.islice(jobs, 2 * batch_size - len(pending)):
                pending.append((job, pool.submit(load, job)))

        try:
            submit_jobs()
            while pending:
                yield from _encode_batch(backbone, pending, batch_size, submit_jobs)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def count_decoding_threads() -> int:
    """How many images to decode at once: one per core, and at most four, so that large images fit into memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


def _encode_batch(
    backbone: Backbone, pending: Pending[Job], batch_size: int, submit_jobs: Callable[[], None]
) -> list[Encoded[Job]]:
    """Encode the next `batch_size` images; return their results in order, with those of the jobs that failed.

    The batch ends early after twice as many jobs, or when there are none left. `submit_jobs` is called after each job.
    """
    results: list[Encoded[Job]] = []
    pixels: list[NDArray[np.float32]] = []
    positions: list[int] = []  # of the jobs with pixels, in `results`
    while pending and len(pixels) < batch_size and len(results) < 2 * batch_size:
        job, future = pending.popleft()
        try:
            pixels.append(future.result())
            positions.append(len(results))
            results.append(Encoded(job, None))
        except ImageError as error:
            results.append(Encoded(job, None, error.status, str(error)))
        submit_jobs()
    if pixels:
        features = backbone.encode(np.stack(pixels))
        for position, feature in zip(positions, features, strict=True):
            results[position] = Encoded(results[position].job, feature)
    return results
