"""What is left of a build that is killed, and what becomes of it when it is started again."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from PIL import Image

from changeling.clusters.manifest import Dataset
from changeling.errors import BuildError
from changeling.generate import run
from changeling.generate.build import Build
from changeling.generate.children import Child, Parents
from changeling.generate.generators import TextToImage
from changeling.generate.settings import BuildSettings
from tests.generate import builds

KILLS = 20
LAST = 7 * builds.CAPTIONS - 1


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Processes that start in milliseconds, with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["changeling.generate.generators", "changeling.generate.run", __name__])
    return context


def make(parents: Dataset, output: Path, models: Path) -> Build:
    return Build(Parents(parents), output, {"tiny": builds.drawing("picky")}, BuildSettings(), 0, models)


@pytest.fixture(scope="module")
def undisturbed(
    parents: Dataset,
    models: Path,
    small_parts: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, bytes], float]:
    """All files of a build that nothing disturbs, and how long it took."""
    torch.set_num_threads(1)
    build = make(parents, tmp_path_factory.mktemp("undisturbed") / "fakes", models)
    began = time.monotonic()
    assert run.run(build)
    return builds.contents(build.output), time.monotonic() - began


def work(parents: Path, output: Path, models: Path, started: Event) -> None:
    """Build in a process of its own, and never be done with the last child, so that no kill is too late."""
    for module in builds.MODULES:
        module.PART = builds.PART  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    draw = TextToImage.draw

    def endless(self: TextToImage, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        started.set()
        while children[0].number == LAST:
            time.sleep(1)
        return draw(self, children, seeds)

    TextToImage.draw = endless  # type: ignore[method-assign]
    run.run(make(Dataset(parents), output, models))


@pytest.mark.parametrize("seed", range(KILLS))
def test_what_is_killed_is_resumed_to_the_same_bytes(
    seed: int,
    parents: Dataset,
    models: Path,
    undisturbed: tuple[dict[str, bytes], float],
    server: ForkServerContext,
    tmp_path: Path,
) -> None:
    expected, duration = undisturbed
    output = tmp_path / "fakes"
    started = server.Event()
    process = server.Process(target=work, args=(parents.path, output, models, started))
    process.start()
    assert started.wait(60)
    time.sleep(random.Random(seed).uniform(seed / KILLS, (seed + 1) / KILLS) * duration)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not (output / "images.parquet").exists()
    for part in output.glob("build/*/part-*"):  # whatever has its name is whole
        assert part.read_bytes() == expected[part.relative_to(output).as_posix()]
    assert run.run(make(parents, output, models))
    assert builds.contents(output) == expected  # no orphan, no duplicate, nothing temporary


def test_a_full_disk_is_one_line_and_resumed(
    parents: Dataset,
    models: Path,
    undisturbed: tuple[dict[str, bytes], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = make(parents, tmp_path / "fakes", models)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parts[-3:-1] == ("tiny", "0000") and int(path.stem) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(BuildError, match="the disk is full; what is done is kept") as caught:
            run.run(build)
    assert "\n" not in str(caught.value)
    assert 1 <= len(list((build.output / "build" / "tiny").glob("part-*"))) <= 3
    assert not (build.output / "images.parquet").exists()
    assert run.run(build)
    assert builds.contents(build.output) == undisturbed[0]


def test_sigterm_ends_in_one_line_and_a_state_that_resumes(parents: Dataset, models: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    table = f'[generators.tiny]\nmodel = "{models / "sd"}"\nsteps = 200\nsize = 64\n'
    study.write_text(f'dataset = "fakes"\n[build]\nparents = "{parents.path}"\n{table}')
    command = [sys.executable, "-m", "changeling", "build", str(study)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    record = tmp_path / "fakes" / "build" / "tiny" / "generator.json"
    deadline = time.monotonic() + 90
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1] == "changeling: stopped"
    assert not (tmp_path / "fakes" / "images.parquet").exists()
    study.write_text(study.read_text().replace("steps = 200", "steps = 1"))
    record.unlink()  # of the 200 steps, of which nothing is done yet
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(Dataset(tmp_path / "fakes")) == 7 * (1 + builds.CAPTIONS)
