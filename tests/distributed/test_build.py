"""A build on a Ray cluster has the same bytes as one without it, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from changeling.build import preflight
from changeling.build.job import Build
from changeling.build.plan import Shard
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset
from changeling.distributed.build import build_on_ray
from changeling.distributed.pipeline import StageActor
from changeling.errors import BuildError
from tests import helpers
from tests.distributed.conftest import PARENT_COUNT, MakeBuild

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def after_first_part(build: Build, act: Callable[[], object]) -> threading.Thread:
    """Call `act` once the first part is written."""

    def wait() -> None:
        while not list((build.output / "build" / "tiny").glob("part-*")):
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_an_actor() -> None:
    """Kill a process that draws: one of those that this test session has started, never another's."""
    actors = [pid for pid in descendants(os.getpid()) if StageActor.__name__.encode() in command_line(pid)]
    os.kill(actors[0], signal.SIGKILL)


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have started."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, read(file).split()):
            yield child
            yield from descendants(child)


def command_line(pid: int) -> bytes:
    return read(Path(f"/proc/{pid}/cmdline"))


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # the process has ended
        return b""


def test_children_that_do_not_fit_on_the_disk_are_refused(
    make_build: MakeBuild, parents: Dataset, ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(parents.resolve_path(path).stat().st_size for path in parents.column("path"))
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 1.1 * size)  # enough for the parents
    build = make_build(tmp_path / "fakes")
    assert run_build(build, Shard(0, 4)) is None
    with pytest.raises(BuildError, match="fakes: the other children of tiny will take about"):
        build_on_ray(build, ray_cluster.address)
    assert not (build.output / "images.parquet").exists()


def test_error_on_a_worker_is_raised_as_without_ray(
    make_build: MakeBuild, files_of_one_process: dict[str, bytes], ray_cluster: Any, tmp_path: Path
) -> None:
    build = make_build(tmp_path / "fakes")
    record_path = build.output / "build" / "tiny" / "generator.json"
    record_path.parent.mkdir(parents=True)
    record = json.loads(files_of_one_process["build/tiny/generator.json"])
    record_path.write_text(json.dumps(record | {"versions": record["versions"] | {"torch": "1.0"}}))
    with pytest.raises(BuildError, match=r"made with versions\.torch '1\.0', now it is"):
        build_on_ray(build, ray_cluster.address)
    assert not list(record_path.parent.glob("part-*"))


@pytest.mark.usefixtures("full_disk_on_workers")
def test_full_disk_on_a_worker_is_raised_as_without_ray(
    make_build: MakeBuild, ray_cluster: Any, tmp_path: Path
) -> None:
    build = make_build(tmp_path / "fakes")
    with pytest.raises(BuildError) as caught:
        build_on_ray(build, ray_cluster.address)
    assert str(caught.value).startswith(f"{build.output}: the disk is full")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["process", "node"])  # the node last: it does not come back
def test_lost_parts_are_built_again_with_the_bytes_of_one_process(
    lost: str, make_build: MakeBuild, files_of_one_process: dict[str, bytes], ray_cluster: Any, tmp_path: Path
) -> None:
    build, reports = make_build(tmp_path / "fakes"), []
    remove_node = lambda: ray_cluster.remove_node(ray_cluster.workers.pop(), allow_graceful=False)  # noqa: E731
    thread = after_first_part(build, kill_an_actor if lost == "process" else remove_node)
    build_on_ray(build, ray_cluster.address, lambda *report: reports.append(report))
    thread.join()
    assert helpers.contents_without_temporary_files(build.output) == files_of_one_process
    assert reports[-1] == ("tiny", 4 * PARENT_COUNT, 4 * PARENT_COUNT)
