"""Parts shared out, models that are not there, and folders that are in the way."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.build import preflight, runner
from changeling.build.children import Parents
from changeling.build.job import Build
from changeling.build.runner import parse_shard, run
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.build.builds import drawing, make_build


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
    before = helpers.contents(copy.output)
    with pytest.raises(BuildError, match=r"has images that were not built here, or build/ is gone; let"):
        run(copy)
    assert helpers.contents(copy.output) == before


@pytest.mark.parametrize(("few", "many"), [(1, 2), (2, 7), (4, 5), (6, 7)])
def test_a_build_grows_to_what_it_would_have_been(
    few: int, many: int, parents: Dataset, models: Path, tmp_path: Path
) -> None:
    generators = {"sd": drawing("sd"), "vae": drawing("vae", kind="reconstruction")}
    grown, new = (
        make_build(parents, tmp_path / name / "fakes", models, generators, clusters=many) for name in ("grown", "new")
    )
    assert run(replace(grown, parents=Parents(parents, few)))
    first = helpers.contents(grown.output)
    assert run(grown)
    assert run(new)
    after = helpers.contents(grown.output)
    assert after == helpers.contents(new.output)
    assert {path: after[path] for path in first if path.startswith("images/")} == {
        path: data for path, data in first.items() if path.startswith("images/")
    }


@pytest.mark.parametrize("change", ["steps", "encoding", "no model", "no disk"])
def test_a_growth_that_is_refused_leaves_everything(
    change: str, parents: Dataset, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "vae", tmp_path / "vae")
    generators = {"sd": drawing(str(models / "sd")), "vae": drawing("vae", kind="reconstruction")}
    build = make_build(parents, tmp_path / "fakes", tmp_path, generators, clusters=3)
    assert run(build)
    before = helpers.contents(build.output)
    settings, more = build.settings, dict(generators)
    if change == "steps":
        more["sd"] = drawing(str(models / "sd"), steps=2)
    elif change == "encoding":
        settings = settings.model_copy(update={"encoding": "fixed"})
    elif change == "no model":
        shutil.rmtree(tmp_path / "vae")
    else:
        monkeypatch.setattr(preflight, "free_bytes", lambda _: 0)
    larger = replace(build, parents=Parents(parents, 6), settings=settings, generators=more)
    with pytest.raises(BuildError):
        run(larger)
    assert helpers.contents(build.output) == before
    assert run(build)


def test_shards_let_a_build_grow_together(parents: Dataset, models: Path, tmp_path: Path) -> None:
    generators = {"sd": drawing("sd"), "vae": drawing("vae", kind="reconstruction")}
    grown, new = (
        make_build(parents, tmp_path / name / "fakes", models, generators, clusters=7) for name in ("grown", "new")
    )
    assert run(replace(grown, parents=Parents(parents, 3)))
    assert run(grown, (1, 2)) is None
    assert not (grown.output / "images.parquet").exists()
    assert run(grown, (0, 2))
    assert run(new)
    assert helpers.contents(grown.output) == helpers.contents(new.output)


def test_fewer_clusters_are_refused_by_their_name(copy: Build, parents: Dataset) -> None:
    with pytest.raises(BuildError, match="was made of more clusters"):
        run(replace(copy, parents=Parents(parents, 6)))


def test_parents_that_are_not_there_at_all_end_the_build(parents: Dataset, models: Path, tmp_path: Path) -> None:
    rows = [
        ImageRow(**row | {"path": str(tmp_path / "not mounted" / row["image_id"])})
        for row in parents.images.to_pylist()
    ]
    captions = [CaptionRow(**row) for row in parents.captions.to_pylist()]
    away = write_dataset(tmp_path / "coco", rows, captions)
    with pytest.raises(BuildError, match="coco: none of the first 7 parents' files is there"):
        run(make_build(away, tmp_path / "fakes", models, {"sd": drawing("sd")}))
    assert not (tmp_path / "fakes").exists()


def test_while_files_are_replaced_the_folder_is_no_dataset(copy: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy.output / "build" / "strict")
    monkeypatch.setattr(runner, "find", lambda *_: None)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(copy, make=stop)
    assert not (copy.output / "images.parquet").exists()


def test_a_generator_that_is_added_leaves_the_dataset_until_it_is_done(copy: Build) -> None:
    more = replace(copy, generators={**copy.generators, "new": drawing("sd")})
    before = (copy.output / "images.parquet").read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(more, make=stop)
    assert (copy.output / "images.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (drawing("sd", scheduler="Foo"), "there is no scheduler 'Foo' in diffusers"),
        (drawing("no/such/folder"), "no/such/folder: no such folder"),
        (drawing("sd", arguments={"no_such": 1}), "takes no argument 'no_such'"),
        (drawing("sd", safety_checker="sd2"), "sd2 has no safety checker"),
        (drawing("sdxl", safety_checker="sd"), "a StableDiffusionXLPipeline takes no safety checker"),
        (drawing("vae"), "for an autoencoder alone write kind = 'reconstruction'"),
        (
            GeneratorSettings(model="tokenizer", kind="reconstruction"),
            "tokenizer has no config.json: it is neither an autoenc",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_the_last_generator_is_said_before_anything_is_made(
    settings: GeneratorSettings, message: str, parents: Dataset, models: Path, tmp_path: Path
) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd"), "other": settings})
    with pytest.raises(BuildError, match=message):
        run(build)
    assert not build.output.exists()


def test_images_of_others_are_not_overwritten(parents: Dataset, models: Path, tmp_path: Path) -> None:
    mine = tmp_path / "fakes" / "images" / "parents" / "0000" / "0000000.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(BuildError, match="fakes has images that were not built here"):
        run(make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd")}))
    assert mine.read_bytes() == b"mine"
