"""Encode many images with one backbone: threads decode the next images while a batch is encoded."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from changeling.errors import ImageError, Status

Job = TypeVar("Job")  # identifies an image: a path, or a row of a dataset
Pixels = NDArray[np.float32]  # (3, H, W), or (V, 3, H, W) for the views of one image
Load = Callable[[Job], Pixels]  # may raise ImageError
VIEWED_AHEAD = 4  # images whose views are loaded ahead


class Encoder(Protocol):
    """What pixels are encoded with, such as a backbone."""

    def encode(self, pixels: Pixels) -> Pixels:
        """Preprocessed images (B, 3, H, W) -> features (B, D)."""


@dataclass(frozen=True, slots=True)
class Encoded(Generic[Job]):
    """The result of one job: a feature (D,) or the features of its views (V, D), or None with a status and an error."""

    job: Job
    feature: NDArray[np.float32] | None
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Loaded(Generic[Job]):
    """The pixels of one job, or None with a status and an error."""

    job: Job
    pixels: Pixels | None
    status: Status = "ok"
    error: str | None = None


def encode(
    jobs: Iterable[Job],
    load: Load[Job],
    backbone: Encoder,
    *,
    batch_size: int = 8,
    workers: int | None = None,
) -> Iterator[Encoded[Job]]:
    """Load the pixels (3, H, W) of each job and encode them in batches; yield the results in the order of `jobs`.

    `load` runs in `workers` threads. A job for which it raises ImageError is yielded with the status of the error. At
    most four batches of jobs are held at a time, however many jobs there are and however many of them fail.
    """
    with closing(_load_ahead(jobs, load, 2 * batch_size, workers)) as loaded:
        while batch := _take_batch(loaded, batch_size):
            yield from _encode_batch(backbone, batch)


def encode_views(
    jobs: Iterable[Job], load_views: Load[Job], backbone: Encoder, *, workers: int | None = None
) -> Iterator[Encoded[Job]]:
    """Load the pixels (V, 3, H, W) of the views of each job and encode them as one batch; yield results in order.

    `load_views` runs in `workers` threads. A job for which it raises ImageError gets the status of the error.
    """
    with closing(_load_ahead(jobs, load_views, VIEWED_AHEAD, workers)) as loaded:
        for image in loaded:
            features = None if image.pixels is None else backbone.encode(image.pixels)
            yield Encoded(image.job, features, image.status, image.error)


def count_decoding_threads() -> int:
    """How many images to decode at once: one per core, and at most four, so that large images fit into memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


def _load_ahead(
    jobs: Iterable[Job], load: Load[Job], ahead: int, workers: int | None
) -> Generator[_Loaded[Job], None, None]:
    """Yield the pixels of each job in order, while threads load the next `ahead` jobs."""
    jobs = iter(jobs)
    with ThreadPoolExecutor(workers or count_decoding_threads()) as pool:
        pending: deque[tuple[Job, Future[Pixels]]] = deque()

        def submit_jobs() -> None:
            for job in itertools.islice(jobs, ahead - len(pending)):
                pending.append((job, pool.submit(load, job)))

        try:
            submit_jobs()
            while pending:
                job, future = pending.popleft()
                loaded = _wait_for_pixels(job, future)
                submit_jobs()
                yield loaded
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _wait_for_pixels(job: Job, future: Future[Pixels]) -> _Loaded[Job]:
    try:
        return _Loaded(job, future.result())
    except ImageError as error:
        return _Loaded(job, None, error.status, str(error))


def _take_batch(loaded: Iterator[_Loaded[Job]], batch_size: int) -> list[_Loaded[Job]]:
    """Take jobs until `batch_size` of them have pixels; fewer after twice as many jobs, or when there are none left."""
    batch: list[_Loaded[Job]] = []
    for image in itertools.islice(loaded, 2 * batch_size):
        batch.append(image)
        if sum(one.pixels is not None for one in batch) == batch_size:
            break
    return batch


def _encode_batch(backbone: Encoder, batch: Sequence[_Loaded[Job]]) -> Iterator[Encoded[Job]]:
    """Encode a batch as one; yield its results in order, with those of the jobs that failed."""
    pixels = [image.pixels for image in batch if image.pixels is not None]
    features = iter(backbone.encode(np.stack(pixels)) if pixels else ())
    for image in batch:
        feature = None if image.pixels is None else next(features)
        yield Encoded(image.job, feature, image.status, image.error)
