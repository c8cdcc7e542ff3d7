"""Many files through one backbone: decoding runs ahead in threads, so that the encoder never waits."""

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

Job = TypeVar("Job")
Load = Callable[[Job], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Encoded(Generic[Job]):
    """What became of one job: a feature (D,), or None with a status and an error."""

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
    """Load each job's pixels (3, H, W) and encode them in batches; yield in the order of `jobs`.

    `load` runs in `workers` threads and may raise ImageError: such a job is yielded with its status. No more
    than four batches of jobs are ever held, however long `jobs` is and however many of them fail.
    """
    jobs = iter(jobs)
    with ThreadPoolExecutor(workers or decoders()) as pool:
        ahead: deque[tuple[Job, Future[NDArray[np.float32]]]] = deque()

        def top_up() -> None:
            for job in itertools.islice(jobs, 2 * batch_size - len(ahead)):
                ahead.append((job, pool.submit(load, job)))

        try:
            top_up()
            while ahead:
                yield from _batch(backbone, ahead, batch_size, top_up)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def decoders() -> int:
    """How many images are decoded at once: a core each, but not so many that large ones fill the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


def _batch(
    backbone: Backbone,
    ahead: deque[tuple[Job, Future[NDArray[np.float32]]]],
    size: int,
    top_up: Callable[[], None],
) -> list[Encoded[Job]]:
    """Take jobs until `size` are loaded, twice as many are done with or none is left; encode, return all in order."""
    done: list[Encoded[Job]] = []
    pixels: list[NDArray[np.float32]] = []
    places: list[int] = []
    while ahead and len(pixels) < size and len(done) < 2 * size:
        job, future = ahead.popleft()
        try:
            pixels.append(future.result())
            places.append(len(done))
            done.append(Encoded(job, None))
        except ImageError as error:
            done.append(Encoded(job, None, error.status, str(error)))
        top_up()
    if pixels:
        features = backbone.encode(np.stack(pixels))
        for place, feature in zip(places, features, strict=True):
            done[place] = Encoded(done[place].job, feature)
    return done
