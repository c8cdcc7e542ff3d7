"""A build from beginning to end: the same bytes however it is run, and what is refused before it begins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from changeling.build import runner
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.plan import Shard
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError, ChangelingError
from changeling.generators.settings import GeneratorSettings
from tests import helpers
from tests.build.builds import (
    COUNTS,
    GENERATORS,
    drawing,
    make_build,
)

pytestmark = pytest.mark.usefixtures("server")


def test_a_folder_that_may_not_be_written_is_refused_first(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("changeling.files.os.access", lambda *_: False)
    with pytest.raises(ChangelingError, match="may not be written to; choose another output"):
        run_build(build)
    assert not build.output.exists()


@pytest.mark.usefixtures("cached")
def test_two_builds_have_the_same_bytes_and_a_finished_one_is_not_written_again(
    build: Build, expected: dict[str, bytes]
) -> None:
    reports: list[tuple[str, int, int]] = []
    assert len(run_build(build, progress=lambda *report: reports.append(report)) or ()) == 56
    assert helpers.contents(build.output) == expected
    for name, total in COUNTS.items():
        done = [(done, of) for what, done, of in reports if what == name]
        assert done == sorted(done)
        assert done[-1] == (total, total)
    parts = {path: path.stat().st_mtime_ns for path in build.paths}
    reports.clear()
    run_build(build, progress=lambda *report: reports.append(report))
    assert helpers.contents(build.output) == expected
    assert {path: path.stat().st_mtime_ns for path in build.paths} == parts
    assert reports == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0, 1)], ids=str)
@pytest.mark.usefixtures("cached")
def test_shards_build_the_same_dataset_in_any_order(
    order: tuple[int, ...], build: Build, expected: dict[str, bytes]
) -> None:
    *first, last = (Shard(index, len(order)) for index in order)
    for shard in first:
        assert run_build(build, shard) is None
        assert not (build.output / "images.parquet").exists()
    assert run_build(build, last) is not None
    assert helpers.contents(build.output) == expected


@pytest.mark.usefixtures("cached")
def test_a_generator_that_is_added_later_keeps_the_parts_of_the_others(
    build: Build, models: Path, parents: Dataset, expected: dict[str, bytes]
) -> None:
    run_build(make_build(parents, build.output, models, {"sd": GENERATORS["sd"]}))
    written_at = {path: path.stat().st_mtime_ns for path in build.output.rglob("part-*")}
    assert len(Dataset(build.output)) == 7 + 21
    run_build(build)
    assert helpers.contents(build.output) == expected
    assert {path: path.stat().st_mtime_ns for path in written_at} == written_at


@pytest.mark.usefixtures("cached")
def test_deleted_parts_are_written_again(build: Build, expected: dict[str, bytes], finished: Path) -> None:
    shutil.copytree(finished, build.output)
    for name, index in ((PARENTS, 1), ("sd", 0), ("picky", 5), ("sd: rebuilt", 1)):
        build.parts(name).path(index).unlink()
    for path in ("images/sd/0000/0000002.jpg", "images.parquet", "captions.parquet"):
        (build.output / path).unlink()
    run_build(build)
    assert helpers.contents(build.output) == expected


def test_the_error_for_a_missing_model_names_its_folder(parents: Dataset, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", tmp_path, {"none": GeneratorSettings(model="no/such/folder")})
    with pytest.raises(BuildError, match=r"no/such/folder: no such folder"):
        run_build(build)
    assert not list((build.output / "build").rglob("generator.json"))


def test_a_dataset_that_was_not_built_is_not_overwritten(copy: Build, parents: Dataset) -> None:
    shutil.rmtree(copy.output)
    shutil.copytree(parents.path, copy.output)
    before = helpers.contents(copy.output)
    with pytest.raises(BuildError, match=r"has images that were not built here, or build/ is gone; let"):
        run_build(copy)
    assert helpers.contents(copy.output) == before


def test_images_that_were_not_built_are_not_overwritten(parents: Dataset, models: Path, tmp_path: Path) -> None:
    image = tmp_path / "fakes" / "images" / "parents" / "0000" / "0000000.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"other")
    with pytest.raises(BuildError, match="fakes has images that were not built here"):
        run_build(make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd")}))
    assert image.read_bytes() == b"other"


def test_a_build_whose_parents_are_all_missing_is_refused(parents: Dataset, models: Path, tmp_path: Path) -> None:
    rows = [
        ImageRow(**row | {"path": str(tmp_path / "not mounted" / row["image_id"])})
        for row in parents.images.to_pylist()
    ]
    captions = [CaptionRow(**row) for row in parents.captions.to_pylist()]
    dataset = write_dataset(tmp_path / "coco", rows, captions)
    with pytest.raises(BuildError, match="coco: none of the first 7 parents' files is there"):
        run_build(make_build(dataset, tmp_path / "fakes", models, {"sd": drawing("sd")}))
    assert not (tmp_path / "fakes").exists()


def test_while_files_are_replaced_the_folder_is_no_dataset(copy: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy.output / "build" / "strict")
    monkeypatch.setattr(runner, "fetch_build_generator", lambda *_: None)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_build(copy, build_generator=interrupt)
    assert not (copy.output / "images.parquet").exists()


def test_a_generator_that_is_added_keeps_the_dataset_until_it_is_finished(copy: Build) -> None:
    extended = replace(copy, generators={**copy.generators, "new": drawing("sd")})
    before = (copy.output / "images.parquet").read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_build(extended, build_generator=interrupt)
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
            GeneratorSettings(model="sd/tokenizer", kind="reconstruction"),
            "sd/tokenizer has no config.json: it is neither an autoenc",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_in_the_last_generator_is_raised_before_anything_is_written(
    settings: GeneratorSettings, message: str, parents: Dataset, models: Path, tmp_path: Path
) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd"), "other": settings})
    with pytest.raises(BuildError, match=message):
        run_build(build)
    assert not build.output.exists()
