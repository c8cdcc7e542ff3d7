"""The processes that decode uploads: hostile files cost them at most their memory and their time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from changeling.detect.loading import load_deliveries, load_image
from changeling.errors import ImageError
from changeling.images.decode import ImageFile, read_file
from changeling.server.decoding import DecodedUpload, DecodingError, DecodingPool, DecodingTask
from tests import helpers, hostile
from tests.server.helpers import make_picture

GIB = 1 << 30


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    """A pool of one process."""
    pool = DecodingPool(1, 30.0, 2 * GIB)
    yield pool
    pool.stop()


@pytest.mark.parametrize("stable", [False, True])
def test_a_process_loads_what_the_detector_loads(stable: bool, pool: DecodingPool) -> None:
    file = ImageFile("", make_picture())
    decoded = asyncio.run(pool.decode(DecodingTask(file, helpers.TINY, stable)))
    expected = (load_deliveries if stable else load_image)(file, helpers.TINY)
    assert (decoded.image.pixels == expected.pixels).all()
    assert (decoded.image.reason, decoded.image.width) == (expected.reason, expected.width)
    assert decoded.seconds > 0


def test_declared_pixels_are_counted_without_decoding(pool: DecodingPool) -> None:
    assert asyncio.run(pool.count_pixels(ImageFile("", hostile.png(8_000, 9_000, 8, 2, b"")))) == 72_000_000
    with pytest.raises(ImageError, match="million pixels"):
        asyncio.run(pool.count_pixels(ImageFile("", hostile.png(60_000, 60_000, 8, 2, b""))))
    with pytest.raises(ImageError, match="format"):
        asyncio.run(pool.count_pixels(ImageFile("", b"text")))


def test_a_process_loads_no_model_and_no_service(pool: DecodingPool) -> None:
    asyncio.run(pool.decode(DecodingTask(ImageFile("", make_picture()), helpers.TINY)))
    modules = pool._pool.schedule(eval, ("set(__import__('sys').modules)",)).result()
    assert "changeling.detect.loading" in modules
    assert not modules & {"onnxruntime", "torch", "fastapi", "uvicorn", "changeling.detect.detector"}


def test_hostile_files_have_the_status_that_detect_gives_them(pool: DecodingPool, tmp_path: Path) -> None:
    async def find_status(file: ImageFile) -> str:
        try:
            await pool.decode(DecodingTask(file, helpers.TINY, evidence=True))
        except (ImageError, DecodingError) as error:
            return error.status
        return "ok"

    for number, case in enumerate(hostile.cases()):
        if case.status == "denied":  # not to root
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            file = read_file(case.make(folder))
        except ImageError:
            continue  # it is not a file that can be uploaded
        assert asyncio.run(find_status(file)) == case.status, case.name


def run_forever(_: None) -> None:
    """Use up processor time on a machine of any speed."""
    while True:
        pass


def test_a_task_that_takes_too_long_is_given_up_and_the_next_picture_is_decoded() -> None:
    pool = DecodingPool(1, 1.0, 4 * GIB)
    try:
        with pytest.raises(DecodingError, match="processor time") as caught:
            asyncio.run(pool._run(run_forever, None))
        assert caught.value.status == "timeout"
        decoded = asyncio.run(pool.decode(DecodingTask(ImageFile("", make_picture()), helpers.TINY)))
        assert decoded.image.width == helpers.SIDE
    finally:
        pool.stop()


def test_a_process_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    pool = DecodingPool(1, 30.0, 2 * GIB)
    try:
        assert pool._pool.schedule(os.write, (2, b"what a decoder says")).result() == 19
    finally:
        pool.stop()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [None, ImageError("truncated", "is cut off")])
def test_decoding_that_is_cancelled_ends_when_its_process_is_done(
    error: ImageError | None, pool: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = DecodingTask(ImageFile("", make_picture()), helpers.TINY)
    decoded = asyncio.run(pool.decode(task))
    future: Future[DecodedUpload] = Future()
    monkeypatch.setattr(pool._pool, "schedule", lambda *_, **__: future)

    async def cancel_decoding() -> None:
        decoding = asyncio.create_task(pool.decode(task))
        await asyncio.sleep(0)
        decoding.cancel()
        await asyncio.wait({decoding}, timeout=0.05)
        assert not decoding.done()
        if error is None:
            future.set_result(decoded)
        else:
            future.set_exception(error)
        with pytest.raises(asyncio.CancelledError):
            await decoding

    asyncio.run(cancel_decoding())


def test_the_limit_of_processor_time_ends_with_its_task(pool: DecodingPool) -> None:
    resource = pytest.importorskip("resource")
    asyncio.run(pool.decode(DecodingTask(ImageFile("", make_picture()), helpers.TINY)))
    soft, hard = pool._pool.schedule(resource.getrlimit, (resource.RLIMIT_CPU,)).result()
    assert soft == hard
