"""Fixtures for all floors, and how Hypothesis searches."""

from __future__ import annotations

import os
import shutil
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


# what runs longest, and so first: a process that began it last would run on alone; folders share costly fixtures
LONGEST_GROUPS = (
    "tests/distributed",
    "tests/build",
    "tests/report",
    "tests/demo",
    "tests/test_cli.py",
    "tests/backbones/test_conformance.py",
    "tests/backbones/test_true_weights.py",
    "tests/backbones/test_torch_backbone.py",
)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of a group, which share fixtures, run in one process: one of `LONGEST_GROUPS`, or a file."""

    def _split_scope(self, nodeid: str) -> str:
        return get_group(nodeid)


def get_group(nodeid: str) -> str:
    """Return the group of a test: one of `LONGEST_GROUPS`, or its file."""
    file = nodeid.partition("::")[0]
    return next((group for group in LONGEST_GROUPS if file == group or file.startswith(f"{group}/")), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: the longest groups first, all else in the order of collection."""
    order = {group: position for position, group in enumerate(LONGEST_GROUPS)}
    items.sort(key=lambda item: order.get(get_group(item.nodeid), len(order)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one process more than there are cores: some tests wait for Ray, a browser or another program."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Return how tests are distributed when pytest runs with `--numprocesses`."""
    return GroupScheduling(config, log)


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
    """Chromium, that asks nobody for anything by itself; without its windows, which take half the time, if it can."""
    chromium = shutil.which("chromium-headless-shell") or helpers.program("chromium", "chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=options, timeout=helpers.PAGE_TIMEOUT)
        yield opened
        opened.close()
