"""Decode uploads in processes of their own, with limits of memory and time.

A picture can be made so that its decoder takes all memory, runs for ever or crashes. Here it ends one process, which is
replaced, and the picture gets an error.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pebble import ProcessExpired, ProcessPool
from PIL import Image

from changeling.detect.loading import LoadedImage, load_deliveries, load_image
from changeling.errors import ImageError
from changeling.images.decode import ImageFile, check_size, inspect_image
from changeling.images.transforms import Preprocessing

if TYPE_CHECKING:
    from changeling.detect.evidence.evidence import Evidence
    from changeling.detect.evidence.inspect import EvidenceReader

T = TypeVar("T")
R = TypeVar("R")
_STOP_SECONDS = 5.0
_ATTEMPTS = 3
_WAITING = 30.0  # seconds that pass without work before a process counts as stuck


@dataclass(frozen=True, slots=True)
class DecodingTask:
    """What a process is to do with a file: preprocess it, with deliveries or without, and read its evidence or not.

    `trust_list` names the signers of content credentials who are trusted.
    """

    file: ImageFile
    preprocessing: Preprocessing
    stable: bool = False
    evidence: bool = False
    trust_list: Path | None = None


@dataclass(frozen=True, slots=True)
class DecodedUpload:
    """What a process returns: the loaded image, its evidence, and how many seconds that took."""

    image: LoadedImage
    evidence: tuple[Evidence, ...]
    seconds: float


class DecodingError(Exception):
    """A process ran out of time, or ended; `status` is stored in the row of the file."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class DecodingPool:
    """Processes that decode uploads."""

    def __init__(self, processes: int, seconds: float, memory: int) -> None:
        """Start no process yet.

        Args:
            processes: how many.
            seconds: of processor time, after which a task is given up.
            memory: bytes that each process may allocate.
        """
        self._processes = processes
        self._seconds = seconds
        self._memory = memory
        self._pool = self._make_pool()

    async def decode(self, task: DecodingTask) -> DecodedUpload:
        """Run a task in one of the processes.

        Raises:
            ImageError: the file cannot be read.
            DecodingError: the process ran out of time, or ended.
        """
        return await self._run(decode, task)

    async def count_pixels(self, file: ImageFile) -> int:
        """Return how many pixels a file declares in its header.

        Raises:
            ImageError: the header cannot be read.
            DecodingError: the process ran out of time, or ended.
        """
        return await self._run(count_pixels, file)

    async def _run(self, function: Callable[[T], R], argument: T) -> R:
        """Call a function in one of the processes."""
        for _ in range(_ATTEMPTS):
            with suppress(BrokenProcessPool):  # an idle process was killed, which is not the fault of this file
                return await self._run_once(function, argument)
        raise DecodingError("crashed", "could not be decoded: the processes that decode files do not run")

    async def _run_once(self, function: Callable[[T], R], argument: T) -> R:
        if not self._pool.active:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool = self._make_pool()
        arguments = (function, argument, self._seconds)
        future = self._pool.schedule(run_limited, arguments, timeout=_WAITING + 3 * self._seconds)
        decoding = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(decoding)
        except (ImageError, BrokenProcessPool):
            raise
        except asyncio.CancelledError:
            await _wait_until_done(decoding)
            raise
        except Exception as error:  # of the pool: the process was killed, or ran out of memory as it answered
            if isinstance(error, TimeoutError) or _is_out_of_processor_time(error):
                raise DecodingError("timeout", f"was not decoded in {self._seconds:g} s of processor time") from None
            raise DecodingError("crashed", "the decoder crashed on it, or ran out of memory") from None

    async def warm_up(self, preprocessing: Preprocessing) -> None:
        """Start the processes, so that the first upload need not wait for them."""
        data = BytesIO()
        Image.new("RGB", (64, 64)).save(data, "PNG")
        task = DecodingTask(ImageFile("", data.getvalue()), preprocessing)
        await asyncio.gather(*(self.decode(task) for _ in range(self._processes)))

    def stop(self) -> None:
        """End all processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join(_STOP_SECONDS)

    def _make_pool(self) -> ProcessPool:
        return ProcessPool(
            self._processes,
            initializer=limit_process,
            initargs=(self._memory,),
            context=multiprocessing.get_context("spawn"),
        )


async def _wait_until_done(decoding: asyncio.Future[R]) -> None:
    """Wait for a task that was given up: it still takes a process and memory, so its request must count until then.

    The pool cannot drop it: it would kill a process for each task that waits, which costs more than most pictures do.
    """
    await asyncio.wait({decoding})
    if not decoding.cancelled():
        decoding.exception()  # which is read, so that asyncio does not log it


def _is_out_of_processor_time(error: Exception) -> bool:
    """Whether the system has ended a process for its processor time."""
    exceeded = getattr(signal, "SIGXCPU", None)  # not on Windows
    return isinstance(error, ProcessExpired) and exceeded is not None and error.exitcode == -exceeded


def run_limited(function: Callable[[T], R], argument: T, seconds: float) -> R:
    """Return what a function returns, in a process that ends if this takes more processor time."""
    _set_limit("RLIMIT_CPU", math.ceil(time.process_time() + seconds))  # other processes do not use it up
    try:
        return function(argument)
    finally:
        _remove_limit("RLIMIT_CPU")


def count_pixels(file: ImageFile) -> int:
    """Return how many pixels a file declares in its header. Raises ImageError."""
    check_size(file.data)
    header = inspect_image(file)
    return header.width * header.height


def decode(task: DecodingTask) -> DecodedUpload:
    """Decode and preprocess a file, and read its evidence. Raises ImageError."""
    started = time.perf_counter()
    check_size(task.file.data)
    load = load_deliveries if task.stable else load_image
    image = load(task.file, task.preprocessing)
    evidence: tuple[Evidence, ...] = ()
    if task.evidence:
        evidence = _make_evidence_reader(task.trust_list).read(task.file)
    return DecodedUpload(image, evidence, time.perf_counter() - started)


@cache
def _make_evidence_reader(trust_list: Path | None) -> EvidenceReader:
    from changeling.detect.evidence.inspect import EvidenceReader  # a process that reads no evidence stays small

    return EvidenceReader(trust_list)


def limit_process(memory: int) -> None:
    """Prepare a process: limit the memory that it can allocate, and leave interrupts to its parent.

    Decoders print what they find wrong in a file; here that goes nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.filterwarnings("ignore", module="PIL")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _set_limit("RLIMIT_DATA", memory)
    _set_limit("RLIMIT_CORE", 0)


def _remove_limit(name: str) -> None:
    """Limit a resource of this process only as the system does."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        kind: int = getattr(resource, name)
        _, highest = resource.getrlimit(kind)
        resource.setrlimit(kind, (highest, highest))


def _set_limit(name: str, value: int) -> None:
    """Limit a resource of this process, where the system has such a limit, and has no lower one."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        kind: int = getattr(resource, name)
        _, highest = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if highest == resource.RLIM_INFINITY else min(value, highest), highest))
