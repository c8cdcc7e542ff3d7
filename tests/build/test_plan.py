"""The parts to do: missing, outdated, of other builds, and of a shard."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.build import preflight
from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.parts import PARENTS
from changeling.build.plan import BuildPlan, Shard, plan_build
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from tests import helpers
from tests.build.builds import (
    GENERATORS,
    drawing,
    make_build,
)

TWO_GENERATORS = {name: GENERATORS[name] for name in ("sd", "sd: rebuilt")}


@given(index=st.integers(0, 99), count=st.integers(1, 100))
def test_a_shard_is_read_from_its_text(index: int, count: int) -> None:
    if index < count:
        assert Shard.parse(f"{index}/{count}") == Shard(index, count)
    else:
        with pytest.raises(BuildError, match=rf"--shard {index}/{count}: write I/N with I from 0 to N-1, such as 0/4"):
            Shard.parse(f"{index}/{count}")


@pytest.mark.parametrize("text", ["", "1", "/", "2/2", "-1/2", "a/b", "1/0", "0/", "/2", "0/2/4", "1.0/2", "²/3"])
def test_text_that_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match=rf"--shard {re.escape(text)}: write I/N"):
        Shard.parse(text)


@given(count=st.integers(1, 9), part_count=st.integers(0, 20))
def test_every_part_belongs_to_one_shard(
    count: int, part_count: int, parents: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    build = make_build(parents, Path("nowhere"), Path("nowhere"), {"sd": drawing("sd")})
    build = replace(build, part_size=max(1, 21 // max(1, part_count)))
    shards = [Shard(index, count) for index in range(count)]
    for name in build.names:
        selected = [index for shard in shards for index in shard.select_parts(build, name)]
        assert sorted(selected) == list(build.parts(name).indices)


def test_everything_is_to_be_written_before_a_build(build: Build) -> None:
    plan = plan_build(build)
    assert plan.to_write == {name: list(build.parts(name).indices) for name in build.names}
    assert not any(plan.outdated.values())
    assert plan.generators.keys() == GENERATORS.keys()
    assert not build.output.exists()


def test_missing_parts_of_the_shard_are_to_be_written(copy: Build) -> None:
    for index in (0, 1, 4):
        copy.parts("picky").remove(index)
    copy.parts(PARENTS).remove(1)
    nothing: dict[str, list[int]] = {name: [] for name in copy.names}
    assert plan_build(copy) == BuildPlan(nothing | {PARENTS: [1], "picky": [0, 1, 4]}, nothing)
    assert plan_build(copy, Shard(0, 2)) == BuildPlan(nothing | {PARENTS: [1], "picky": [0, 4]}, nothing)
    assert plan_build(copy, Shard(1, 2)) == BuildPlan(nothing | {"picky": [1]}, nothing)


def test_parts_that_hold_too_few_images_are_outdated(parents: Dataset, models: Path, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"vae": drawing("vae", kind="reconstruction")})
    assert run_build(replace(build, parents=Parents(parents, 6)))
    assert plan_build(build) == BuildPlan({PARENTS: [1], "vae": [1]}, {PARENTS: [1], "vae": [1]})
    assert build.parts("vae").exists(1)  # planning removes nothing


def test_parts_without_a_record_are_refused(copy: Build) -> None:
    (copy.output / "build" / "picky" / "generator.json").unlink()
    with pytest.raises(BuildError, match=r"picky.generator.json is missing; move its folder away and build again"):
        plan_build(copy)


@pytest.mark.parametrize("change", ["captions", "a parent", "clusters", "encoding"])
@pytest.mark.usefixtures("cached")
def test_parts_of_other_parents_captions_or_settings_are_refused(
    change: str, build: Build, models: Path, tmp_path: Path
) -> None:
    run_build(build)
    before = helpers.contents(build.output)
    dataset = build.parents.dataset
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    captions = dataset.captions.to_pylist()
    if change == "captions":
        captions[4]["caption"] = "something else"
    if change == "a parent":
        rows[1] = ImageRow(**dataset.images.to_pylist()[1] | {"sha256": "0" * 64})
    shutil.copytree(dataset.path, tmp_path / "coco")
    other = write_dataset(tmp_path / "coco", rows, [CaptionRow(**row) for row in captions])
    changes: dict[str, dict[str, Any]] = {"clusters": {"clusters": 6}, "encoding": {"encoding": "fixed"}}
    table = changes.get(change, {})
    message = r"made with saved.encoding 'matched', now it is 'fixed'" if change == "encoding" else "other parents or"
    with pytest.raises(BuildError, match=message):
        run_build(make_build(other, build.output, models, GENERATORS, **table))
    after = helpers.contents(build.output)
    assert {name: data for name, data in after.items() if name != "build/index.html"} == {
        name: data for name, data in before.items() if name != "build/index.html"
    }


@pytest.mark.parametrize(("few", "many"), [(1, 2), (2, 7), (4, 5), (6, 7)])
@pytest.mark.usefixtures("cached")
def test_a_build_that_is_extended_equals_a_new_one(
    few: int, many: int, parents: Dataset, models: Path, tmp_path: Path
) -> None:
    extended, new = (
        make_build(parents, tmp_path / name / "fakes", models, TWO_GENERATORS, clusters=many)
        for name in ("extended", "new")
    )
    assert run_build(replace(extended, parents=Parents(parents, few)))
    first = helpers.contents(extended.output)
    assert run_build(extended)
    assert run_build(new)
    after = helpers.contents(extended.output)
    assert after == helpers.contents(new.output)
    assert {path: after[path] for path in first if path.startswith("images/")} == {
        path: data for path, data in first.items() if path.startswith("images/")
    }


@pytest.mark.parametrize("change", ["steps", "encoding", "no model", "no disk"])
def test_an_extension_that_is_refused_changes_nothing(
    change: str, parents: Dataset, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "vae", tmp_path / "vae")
    generators = {"sd": drawing(str(models / "sd")), "vae": drawing("vae", kind="reconstruction")}
    build = make_build(parents, tmp_path / "fakes", tmp_path, generators, clusters=3)
    assert run_build(build)
    before = helpers.contents(build.output)
    settings, changed = build.settings, dict(generators)
    if change == "steps":
        changed["sd"] = drawing(str(models / "sd"), steps=2)
    elif change == "encoding":
        settings = settings.model_copy(update={"encoding": "fixed"})
    elif change == "no model":
        shutil.rmtree(tmp_path / "vae")
    else:
        monkeypatch.setattr(preflight, "free_bytes", lambda _: 0)
    larger = replace(build, parents=Parents(parents, 6), settings=settings, generators=changed)
    with pytest.raises(BuildError):
        run_build(larger)
    assert helpers.contents(build.output) == before
    assert run_build(build)


@pytest.mark.usefixtures("cached")
def test_shards_extend_a_build_together(parents: Dataset, models: Path, tmp_path: Path) -> None:
    extended, new = (
        make_build(parents, tmp_path / name / "fakes", models, TWO_GENERATORS, clusters=7)
        for name in ("extended", "new")
    )
    assert run_build(replace(extended, parents=Parents(parents, 3)))
    assert run_build(extended, Shard(1, 2)) is None
    assert not (extended.output / "images.parquet").exists()
    assert run_build(extended, Shard(0, 2))
    assert run_build(new)
    assert helpers.contents(extended.output) == helpers.contents(new.output)


def test_fewer_clusters_are_refused(copy: Build, parents: Dataset) -> None:
    with pytest.raises(BuildError, match="was made of more clusters"):
        run_build(replace(copy, parents=Parents(parents, 6)))
