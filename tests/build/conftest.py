"""Tiny pipelines, parents for their children, and parts that are small."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from changeling.build import children
from changeling.build.job import Build
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset
from changeling.generators.base import Generator
from changeling.generators.families import load_generator
from tests import helpers
from tests.build import builds, processes
from tests.build.builds import GENERATORS, CachingGenerator
from tests.build.processes import CommandLine
from tests.generators import tiny


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_a_cpu() -> Iterator[None]:
    """No GPU, whose bits are others, and no threads that wait for each other where others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # of processes that are started here
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny pipelines."""
    return tiny.save_pipelines(tmp_path_factory.mktemp("models") / "models")


@pytest.fixture(scope="session")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seven parents in seven encodings, with three captions each."""
    return builds.write_parents(tmp_path_factory.mktemp("parents"))


@pytest.fixture(scope="session")
def whole(parents: Dataset, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A finished build: of a generator with a safety checker, one that flags everything, and reconstructions."""
    generators = {
        "picky": builds.drawing("picky"),
        "strict": builds.drawing("strict", redraws=0),
        "tiny vae": builds.drawing("vae", kind="reconstruction"),
    }
    build = builds.make_build(parents, tmp_path_factory.mktemp("whole") / "fakes", models, generators)
    assert run_build(build)
    return build


@pytest.fixture
def copy(whole: Build, tmp_path: Path) -> Build:
    """A copy of the finished build."""
    shutil.copytree(whole.output, tmp_path / "fakes")
    return replace(whole, output=tmp_path / "fakes")


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServerContext]:
    """Processes that start in milliseconds, with everything imported."""
    with processes.fork_server() as context:
        yield context


@pytest.fixture
def changeling(server: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line, in forked processes."""
    return CommandLine(server, tmp_path_factory.mktemp("output"))


@pytest.fixture(scope="session")
def loaded(models: Path) -> dict[str, Generator]:
    """The generators of `GENERATORS`, loaded once."""
    return {name: load_generator(settings, models) for name, settings in GENERATORS.items()}


@pytest.fixture(scope="session")
def caching(loaded: dict[str, Generator]) -> dict[str, CachingGenerator]:
    """The same, with the pictures that they have drawn."""
    return {name: CachingGenerator(generator) for name, generator in loaded.items()}


@pytest.fixture
def cached(caching: dict[str, CachingGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds use the loaded generators, and the pictures that they have drawn."""
    monkeypatch.setattr(children, "load_build_generator", lambda _, name: caching[name])


@pytest.fixture(scope="session")
def finished(
    parents: Dataset,
    models: Path,
    caching: dict[str, CachingGenerator],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The dataset of an uninterrupted build of `GENERATORS`."""
    output = tmp_path_factory.mktemp("finished") / "fakes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "load_build_generator", lambda _, name: caching[name])
        assert run_build(builds.make_build(parents, output, models, GENERATORS)) is not None
    return output


@pytest.fixture(scope="session")
def expected(finished: Path) -> dict[str, bytes]:
    """The files of that dataset."""
    return helpers.contents(finished)


@pytest.fixture
def build(parents: Dataset, models: Path, tmp_path: Path) -> Build:
    """A build of `GENERATORS` that is not begun."""
    return builds.make_build(parents, tmp_path / "fakes", models, GENERATORS)
