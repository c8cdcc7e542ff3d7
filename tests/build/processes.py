"""Processes for builds: they start in milliseconds, with everything imported, and can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch

from changeling import cli
from changeling.build.job import Build
from changeling.studies.settings import Study
from tests.build import builds


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command line."""

    code: int
    out: str
    err: str


@contextmanager
def fork_server() -> Iterator[ForkServerContext]:
    """A server of its own, as one that another test has started has other modules loaded."""
    running = forkserver._forkserver
    running._stop()  # type: ignore[attr-defined]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.build.warm", "tests.build.test_resume"])
    running.ensure_running()  # it imports while tests go on
    yield context
    os.kill(running._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]  # it would take seconds to end
    running._stop()  # type: ignore[attr-defined]


class CommandLine:
    """`changeling ...` in a forked process; its builds have parts of `part_size` images."""

    def __init__(self, context: ForkServerContext, folder: Path) -> None:
        self.context, self.folder, self.part_size = context, folder, builds.PART_SIZE

    def start(self, *arguments: str | Path) -> Any:
        """Start it; its output goes to files."""
        process = self.context.Process(target=_main, args=(list(map(str, arguments)), self.folder, self.part_size))
        process.start()
        return process

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run it."""
        return self.ended(self.start(*arguments))

    def ended(self, process: Any) -> Ran:
        """Wait for its end."""
        process.join(120)
        return Ran(process.exitcode, (self.folder / "out").read_text(), (self.folder / "err").read_text())


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def _main(arguments: Sequence[str], folder: Path, part_size: int) -> None:
    torch.set_num_threads(1)
    to_build = Study.to_build

    def to_build_of_small_parts(self: Study, folder: Path) -> Build:
        return replace(to_build(self, folder), part_size=part_size)

    Study.to_build = to_build_of_small_parts  # type: ignore[method-assign]
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["changeling", *arguments]
    cli.main()
