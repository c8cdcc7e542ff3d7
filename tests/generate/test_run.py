"""Parts shared out, models that are not there, and folders that are in the way."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.clusters.manifest import Dataset
from changeling.errors import BuildError
from changeling.generate import run as runner
from changeling.generate.build import Build
from changeling.generate.run import parse_shard, run
from changeling.generate.settings import GeneratorSettings
from tests.generate.builds import contents, make_build

pytestmark = pytest.mark.usefixtures("small_parts")


@given(index=st.integers(0, 99), count=st.integers(1, 100))
def test_shards_are_counted_from_nought(index: int, count: int) -> None:
    if index < count:
        assert parse_shard(f"{index}/{count}") == (index, count)
    else:
        with pytest.raises(BuildError, match=rf"--shard {index}/{count}: write I/N with I from 0 to N-1, such as 0/4"):
            parse_shard(f"{index}/{count}")


@pytest.mark.parametrize("text", ["", "1", "/", "2/2", "-1/2", "a/b", "1/0", "0/", "/2", "0/2/4", "1.0/2", "²/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match=rf"--shard {re.escape(text)}: write I/N"):
        parse_shard(text)


def test_a_model_that_is_not_there_is_one_line(parents: Dataset, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", tmp_path, {"none": GeneratorSettings(model="no/such/folder")})
    with pytest.raises(BuildError, match=r"no/such/folder: no such folder"):
        run(build)
    assert not list((build.output / "build").rglob("generator.json"))


def test_without_the_libraries_the_command_that_installs_them_is_named(
    whole: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else name)
    with pytest.raises(BuildError, match=r"picky needs diffusers: pip install 'changeling\[generate\]'"):
        runner.load(whole, "picky")


def test_a_build_goes_on_with_as_many_threads_as_it_began(copy: Build) -> None:
    record = copy.output / "build" / "picky" / "generator.json"
    assert '"threads": 1,' in record.read_text()
    record.write_text(record.read_text().replace('"threads": 1,', '"threads": 2,'))
    assert runner.load(copy, "picky").record["threads"] == 2
    assert runner.load(copy, "tiny vae").record["threads"] == 1


def test_a_dataset_that_was_not_built_is_not_overwritten(copy: Build, parents: Dataset) -> None:
    shutil.rmtree(copy.output)
    shutil.copytree(parents.path, copy.output)
    before = contents(copy.output)
    with pytest.raises(BuildError, match=r"is a dataset that was not built here; let `dataset` name a new folder"):
        run(copy)
    assert contents(copy.output) == before
