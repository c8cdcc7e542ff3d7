"""Builds that are killed at random moments resume to the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch

from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.runner import run_build
from tests import helpers
from tests.build.builds import (
    PART_SIZE,
)

pytestmark = pytest.mark.usefixtures("server")
KILLS = 20


def build_and_wait(build: Build, stage: str, reached: Event) -> None:
    """Build in a process of its own, tell when `stage` is reached, and never end, so that no kill is too late."""
    torch.set_num_threads(1)
    run_build(build, progress=lambda what, *_: reached.set() if what == stage else None)
    reached.set()
    while True:
        time.sleep(1)


@pytest.mark.parametrize("seed", range(KILLS // 4))
@pytest.mark.usefixtures("cached")
def test_a_build_that_is_killed_repeatedly_resumes_to_the_same_bytes(
    seed: int, build: Build, expected: dict[str, bytes], server: ForkServerContext
) -> None:
    generator = random.Random(seed)
    for stage, longest in ((PARENTS, 0.02), ("sd", 0.3), ("sd", 0.3), ("picky", 0.3)):
        reached = server.Event()
        process = server.Process(target=build_and_wait, args=(build, stage, reached))
        process.start()
        assert reached.wait(60)
        time.sleep(generator.uniform(0, longest))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        files = helpers.contents(build.output)
        for name in files:  # no file is incomplete
            if "/part-" in name or name in ("images.parquet", "build/sd/generator.json"):
                assert files[name] == expected[name]
        assert set(files) - {name for name in files if name.endswith(".tmp")} <= set(expected)
        helpers.age_temporary_files(build.output)  # before the next run, which may write the same file
    run_build(build)
    assert helpers.contents(build.output) == expected


def build_until_killed(build: Build, method: str, name: str, half: bool) -> None:
    """Build until a file of this name is to be written, or renamed, and be killed there."""
    torch.set_num_threads(1)
    original = getattr(Path, method)

    def write_and_die(path: Path, *arguments: Any) -> Any:
        if name in path.name:
            if half:
                original(path, arguments[0][: len(arguments[0]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(path, *arguments)

    setattr(Path, method, write_and_die)
    run_build(build)


@pytest.mark.parametrize(
    ("method", "name", "half", "missing"),
    [
        ("write_bytes", "0000005", True, "images/parents/*/0000005.*"),
        ("write_bytes", "0000013", True, "images/sd/*/0000013.*"),
        ("replace", ".part-00003", False, "build/sd/part-00003.parquet"),
        ("replace", ".generator.json", False, "build/sd/*"),
        ("replace", ".generators.json", False, "generators.json"),
        ("replace", ".captions.parquet", False, "captions.parquet"),
        ("replace", ".images.parquet", False, "images.parquet"),
        ("replace", ".index.html", False, "build/index.html"),
    ],
)
@pytest.mark.usefixtures("cached")
def test_a_file_that_was_being_written_is_written_again(
    method: str,
    name: str,
    half: bool,
    missing: str,
    build: Build,
    finished: Path,
    expected: dict[str, bytes],
    server: ForkServerContext,
) -> None:
    shutil.copytree(finished, build.output)
    deleted = [*build.output.glob(missing), build.output / "images.parquet"]
    if missing.startswith("images/"):  # the part that the image is in
        (image, *_) = deleted
        number = int(image.stem)
        deleted.append(build.parts(image.parts[-3]).path(number // PART_SIZE))
    for path in set(deleted):
        path.unlink()
    process = server.Process(target=build_until_killed, args=(build, method, name, half))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (build.output / "images.parquet").exists()
    assert any(path.name.startswith(name) for path in build.output.rglob("*"))
    helpers.age_temporary_files(build.output)
    run_build(build)
    assert helpers.contents(build.output) == expected
