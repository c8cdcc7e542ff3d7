from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from changeling import engine
from changeling.engine import Encoded
from changeling.errors import ImageError
from changeling.images.transforms import Preprocessing
from tests.helpers import TINY

BAD = frozenset({0, 3, 4, 5, 17})


class Doubling:
    """A backbone whose feature of a job is twice its number, with a list of its batch sizes."""

    name, weights, dim = "doubling", "none", 1
    preprocessing: Preprocessing = TINY

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(pixels))
        return pixels * 2


def load(job: int) -> NDArray[np.float32]:
    """Return the number of a job, later for small numbers modulo five, so that jobs finish out of order."""
    time.sleep((4 - job % 5) / 2000)
    if job in BAD:
        raise ImageError("corrupt", f"job {job}")
    return np.array([job], np.float32)


def worker_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")}


@pytest.fixture(autouse=True)
def check_threads_end() -> Iterator[None]:
    before = worker_threads()
    yield
    assert worker_threads() <= before


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_results_are_in_order_with_failures_in_place(batch_size: int, count: int) -> None:
    backbone = Doubling()
    done = list(engine.encode(range(count), load, backbone, batch_size=batch_size, workers=3))
    assert [one.job for one in done] == list(range(count))
    for one in done:
        if one.job in BAD:
            assert one == Encoded(one.job, None, "corrupt", f"job {one.job}")
        else:
            assert one.feature is not None
            assert (one.feature.tolist(), one.status, one.error) == ([2 * one.job], "ok", None)
    good = sum(job not in BAD for job in range(count))
    assert sum(backbone.batches) == good
    assert all(size <= batch_size for size in backbone.batches)


def test_batches_are_full_despite_failures() -> None:
    backbone = Doubling()
    list(engine.encode(range(20), load, backbone, batch_size=5))
    assert backbone.batches == [5, 5, 5]


@pytest.mark.parametrize("fails", [False, True], ids=["all good", "all bad"])
def test_at_most_four_batches_are_held(fails: bool) -> None:
    taken = 0

    def jobs() -> Iterator[int]:
        nonlocal taken
        while taken < 200:
            taken += 1
            yield taken

    def load_or_fail(job: int) -> NDArray[np.float32]:
        if fails:
            raise ImageError("corrupt", "bad")
        return np.array([job], np.float32)

    held = []
    for given, _ in enumerate(engine.encode(jobs(), load_or_fail, Doubling(), batch_size=5, workers=2)):
        held.append(taken - given)
    assert len(held) == 200
    assert max(held) <= 4 * 5


def test_next_batch_is_loaded_while_one_is_encoded() -> None:
    loaded: list[int] = []
    during: list[int] = []

    def load_and_record(job: int) -> NDArray[np.float32]:
        loaded.append(job)
        return np.array([job], np.float32)

    class Slow(Doubling):
        def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            deadline = time.monotonic() + 5
            last = int(pixels.max())
            while len(loaded) < min(last + 1 + 4, 20) and time.monotonic() < deadline:
                time.sleep(0.001)
            during.append(len(loaded) - 1 - last)
            return super().encode(pixels)

    list(engine.encode(range(20), load_and_record, Slow(), batch_size=4, workers=2))
    assert len(during) == 5
    assert min(during[:-1]) >= 4


def test_jobs_are_read_only_when_needed() -> None:
    taken: list[int] = []
    jobs = (taken.append(job) or job for job in range(1_000_000))  # type: ignore[func-returns-value]
    next(engine.encode(jobs, lambda job: np.array([job], np.float32), Doubling(), batch_size=4, workers=2))
    assert len(taken) <= 16


@pytest.mark.parametrize("where", ["load", "jobs", "backbone"])
def test_other_errors_are_raised(where: str) -> None:
    class Broken(Doubling):
        def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            if where == "backbone":
                raise ZeroDivisionError
            return super().encode(pixels)

    def load_or_crash(job: int) -> NDArray[np.float32]:
        if where == "load" and job == 7:
            raise ZeroDivisionError
        return np.array([job], np.float32)

    def jobs() -> Iterator[int]:
        yield from range(12)
        if where == "jobs":
            raise ZeroDivisionError
        yield from range(12, 1000)

    with pytest.raises(ZeroDivisionError):
        list(engine.encode(jobs(), load_or_crash, Broken(), batch_size=4, workers=2))


def test_closing_early_stops_loading() -> None:
    loaded: list[int] = []

    def load_and_record(job: int) -> NDArray[np.float32]:
        loaded.append(job)
        return np.array([job], np.float32)

    for done in engine.encode(range(10_000), load_and_record, Doubling(), batch_size=4, workers=2):
        if done.job == 2:
            break
    count = len(loaded)
    assert count <= 16
    time.sleep(0.02)
    assert len(loaded) == count


def load_views(job: int) -> NDArray[np.float32]:
    """Return job % 3 + 1 views, the first of which is `load(job)`."""
    return np.stack([load(job) + 100 * view for view in range(job % 3 + 1)])


@pytest.mark.parametrize("count", [0, 1, 20])
def test_the_views_of_a_job_are_one_batch_with_failures_in_place(count: int) -> None:
    backbone = Doubling()
    done = list(engine.encode_views(range(count), load_views, backbone, workers=3))
    assert [one.job for one in done] == list(range(count))
    for one in done:
        if one.job in BAD:
            assert one == Encoded(one.job, None, "corrupt", f"job {one.job}")
        else:
            assert one.feature is not None
            assert one.feature[:, 0].tolist() == [2 * (one.job + 100 * view) for view in range(one.job % 3 + 1)]
    assert backbone.batches == [job % 3 + 1 for job in range(count) if job not in BAD]


def test_views_are_loaded_ahead_while_others_are_encoded_and_no_further() -> None:
    loaded: list[int] = []
    during: list[int] = []

    def load_and_record(job: int) -> NDArray[np.float32]:
        loaded.append(job)
        return np.full((2, 1), job, np.float32)

    class Slow(Doubling):
        def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            deadline = time.monotonic() + 5
            expected = min(int(pixels.max()) + 1 + engine.VIEWED_AHEAD, 20)
            while len(loaded) < expected and time.monotonic() < deadline:
                time.sleep(0.001)
            during.append(len(loaded) - expected)
            return super().encode(pixels)

    list(engine.encode_views(range(20), load_and_record, Slow(), workers=2))
    assert during == [0] * 20
