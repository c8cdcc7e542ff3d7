"""A Ray cluster of two nodes on this machine: the bytes of a run without it, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from changeling.backbones import registry
from changeling.build import preflight, runner
from changeling.build.children import Parents
from changeling.build.job import Build
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.distributed.session import LOCAL, build_on_ray, cluster, extract_on_ray
from changeling.errors import BuildError, ScaleError
from changeling.features.extract import extract
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.generators import tiny

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray warns of its own ways

PARENTS = 32  # of four captions each: four parts


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_no_others_before() -> Iterator[None]:
    """Ray's workers stand back behind all other processes, unless they are told not to."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("parents")
    images, captions = [], []
    for number in range(PARENTS):
        helpers.natural(number, 40).save(folder / f"{number}.jpg", quality=70 + number % 25)
        images.append(
            ImageRow(f"p{number}", f"c{number}", "parent", f"{number}.jpg", ("train", "val", "test")[number % 3])
        )
        captions += [CaptionRow(f"c{number}", index, f"scene {number}, said {index}") for index in range(4)]
    return write_dataset(folder, images, captions)


@pytest.fixture(scope="module")
def job(parents: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Build]:
    models = tiny.save_pipelines(tmp_path_factory.mktemp("models") / "models")
    settings = GeneratorSettings(model=str(models / "sd"), steps=2, size=32)
    return lambda output: Build(Parents(parents), output, {"tiny": settings}, BuildSettings(), 0, output.parent)


@pytest.fixture(scope="module")
def undisturbed(job: Callable[[Path], Build], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    build = job(tmp_path_factory.mktemp("undisturbed") / "fakes")
    assert runner.run(build)
    return helpers.contents(build.output)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head without work and two nodes that do it."""
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.workers = [made.add_node(num_cpus=2) for _ in range(2)]
    yield made
    made.shutdown()


def when_begun(build: Build, strike: Callable[[], object]) -> threading.Thread:
    """Strike once the first part is written."""

    def wait() -> None:
        while not list((build.output / "build" / "tiny").glob("part-*")):
            time.sleep(0.02)
        strike()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_a_generator() -> None:
    processes = [path for path in Path("/proc").glob("[0-9]*") if b"_Draw" in read(path / "cmdline")]
    os.kill(int(processes[0].name), signal.SIGKILL)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_children_that_will_not_fit_are_known_by_those_that_are_there(
    job: Callable[[Path], Build], parents: Dataset, nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(parents.resolve_path(path).stat().st_size for path in parents.column("path"))
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 1.1 * size)  # enough for the parents
    build = job(tmp_path / "fakes")
    assert runner.run(build, (0, 4)) is None
    with pytest.raises(BuildError, match="fakes: the other children of tiny will take about"):
        build_on_ray(build, nodes.address)
    assert not (build.output / "images.parquet").exists()


@pytest.mark.parametrize("lost", ["worker", "node"])  # a node last: it is gone
def test_what_is_lost_is_done_again_and_the_bytes_are_those_of_one_process(
    lost: str, job: Callable[[Path], Build], undisturbed: dict[str, bytes], nodes: Any, tmp_path: Path
) -> None:
    build, told = job(tmp_path / "fakes"), []
    strikes = {"worker": kill_a_generator, "node": lambda: nodes.remove_node(nodes.workers[1], allow_graceful=False)}
    thread = when_begun(build, strikes[lost])
    build_on_ray(build, nodes.address, lambda *what: told.append(what))
    thread.join()
    assert helpers.contents_without_temporary_files(build.output) == undisturbed
    assert told[-1] == ("tiny", 4 * PARENTS, 4 * PARENTS)


def test_features_of_a_cluster_are_those_of_one_process(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative, and the cluster was started in another folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copy(tiny_onnx, "tiny.onnx")
    alone, together = (helpers.tiny_dataset(Path(name), clusters=90) for name in ("alone", "together"))
    for dataset in (alone, together):
        dataset.resolve_path(dataset.column("path")[3]).write_bytes(b"no image")
    backbone = registry.load_backbone("onnx:tiny.onnx")
    expected = extract(alone, backbone)
    monkeypatch.chdir(tmp_path)
    with cluster(LOCAL):
        monkeypatch.chdir(tmp_path / "here")
        made = extract_on_ray(together, backbone, LOCAL)
    assert made == expected
    assert made.encoded == len(together) - 1
    assert made.failed == {"corrupt": 1}
    assert helpers.contents(together.path / "features") == helpers.contents(alone.path / "features")


def test_what_fails_on_a_worker_is_said_as_it_is_without_a_cluster(
    job: Callable[[Path], Build], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    build = job(tmp_path / "fakes")
    record = build.output / "build" / "tiny" / "generator.json"
    record.parent.mkdir(parents=True)
    begun = json.loads(undisturbed["build/tiny/generator.json"])
    record.write_text(json.dumps(begun | {"versions": begun["versions"] | {"torch": "1.0"}}))
    with pytest.raises(BuildError, match=r"made with versions\.torch '1\.0', now it is"):
        build_on_ray(build, LOCAL)
    assert not list(record.parent.glob("part-*"))


def test_no_cluster_is_one_line(job: Callable[[Path], Build], tmp_path: Path) -> None:
    build = job(tmp_path / "fakes")
    with pytest.raises(ScaleError, match=r"no Ray cluster is at 127\.0\.0\.1:1") as caught:
        build_on_ray(build, "127.0.0.1:1")
    assert "\n" not in str(caught.value)
    assert not build.output.exists()
