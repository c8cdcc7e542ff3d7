"""Parents, a build job, and a Ray cluster of two nodes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.runner import run_build
from changeling.build.settings import BuildSettings
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.generators import tiny

PARENT_COUNT = 32  # with four captions each: four parts

MakeBuild = Callable[[Path], Build]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread per process, and Ray's workers at the priority of all other processes."""
    thread_count = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield
    torch.set_num_threads(thread_count)


@pytest.fixture(scope="package")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("parents")
    images, captions = [], []
    for number in range(PARENT_COUNT):
        helpers.natural(number, 40).save(folder / f"{number}.jpg", quality=70 + number % 25)
        images.append(
            ImageRow(f"p{number}", f"c{number}", "parent", f"{number}.jpg", ("train", "val", "test")[number % 3])
        )
        captions += [CaptionRow(f"c{number}", index, f"scene {number}, said {index}") for index in range(4)]
    return write_dataset(folder, images, captions)


@pytest.fixture(scope="package")
def make_build(parents: Dataset, tmp_path_factory: pytest.TempPathFactory) -> MakeBuild:
    models = tiny.save_pipelines(tmp_path_factory.mktemp("models") / "models")
    settings = GeneratorSettings(model=str(models / "sd"), steps=2, size=32)
    return lambda output: Build(Parents(parents), output, {"tiny": settings}, BuildSettings(), 0, output.parent)


@pytest.fixture(scope="package")
def files_of_one_process(make_build: MakeBuild, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the same build without Ray."""
    build = make_build(tmp_path_factory.mktemp("one-process") / "fakes")
    assert run_build(build)
    return helpers.contents(build.output)


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster: a head without CPUs, and two nodes that do the work."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.workers = [cluster.add_node(num_cpus=2) for _ in range(2)]
    yield cluster
    cluster.shutdown()


@pytest.fixture
def full_disk_on_workers(ray_cluster: Any) -> Iterator[None]:
    """A connection whose worker processes find the disk full whenever they write an image or features."""
    import ray

    def fill_disk() -> None:  # pickled by value, as it is a nested function
        import errno
        from pathlib import Path

        def fail(path: Path, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        Path.write_bytes = fail  # type: ignore[method-assign, assignment]

    ray.init(ray_cluster.address, runtime_env={"worker_process_setup_hook": fill_disk}, log_to_driver=False)
    yield
    ray.shutdown()
