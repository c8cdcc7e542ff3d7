"""Tiny pipelines, parents for their children, and parts that are small."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from changeling.clusters.manifest import Dataset
from tests.generate import builds, processes, tiny
from tests.generate.processes import CommandLine


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other crawl where others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny pipelines."""
    return tiny.save_pipelines(tmp_path_factory.mktemp("models") / "models")


@pytest.fixture(scope="session")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seven parents in seven forms, with three captions each."""
    return builds.write_parents(tmp_path_factory.mktemp("parents"))


@pytest.fixture(scope="module")
def small_parts() -> Iterator[None]:
    """Parts of four images."""
    with pytest.MonkeyPatch.context() as patch:
        for module in builds.MODULES:
            patch.setattr(module, "PART", builds.PART)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServerContext]:
    """Processes that start in milliseconds, with everything imported."""
    with processes.fork_server() as context:
        yield context


@pytest.fixture
def changeling(server: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line, in forked processes."""
    return CommandLine(server, tmp_path_factory.mktemp("said"))
