"""Before a long run: whether disk and memory suffice, and how long it will take."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from changeling.build import preflight
from changeling.build.children import draw_and_write_parts
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.preflight import DISK_MARGIN, check_disk_for_children, check_disk_for_parents, try_batch
from changeling.build.runner import run_build
from changeling.build.write import write_parents
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from changeling.generators.base import Generator
from changeling.generators.families import load_generator
from tests.build.builds import CAPTIONS, drawing, make_build

CHILDREN = 7 * CAPTIONS


@pytest.fixture(scope="module")
def sd(models: Path) -> Generator:
    return load_generator(drawing("sd"), models)


@pytest.fixture
def build(parents: Dataset, models: Path, tmp_path: Path) -> Build:
    generators = {name: drawing("sd") for name in ("sd", "other", "third")}
    return make_build(parents, tmp_path / "fakes", models, generators)


def set_free_bytes(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Let the disk have so many free bytes."""
    monkeypatch.setattr(preflight, "free_bytes", lambda _: size)


def test_parents_that_do_not_fit_are_refused_before_anything_is_written(
    build: Build, parents: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(parents.resolve_path(path).stat().st_size for path in parents.column("path"))
    set_free_bytes(monkeypatch, 1.06 * size)
    check_disk_for_parents(build)
    set_free_bytes(monkeypatch, 1.04 * size)
    with pytest.raises(BuildError, match=r"fakes: its parents will take about \d+ kB, and the disk has \d+ kB free"):
        run_build(build)
    assert not build.output.exists()


def test_written_parents_need_no_space(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parents(build, build.parts(PARENTS).indices)
    set_free_bytes(monkeypatch, 0)
    check_disk_for_parents(build)


def test_half_of_the_parents_need_half_of_the_space(
    build: Build, parents: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parents(build, build.parts(PARENTS).indices)
    build.paths[1].unlink()  # of two parts
    size = sum(parents.resolve_path(path).stat().st_size for path in parents.column("path"))
    set_free_bytes(monkeypatch, 0.7 * size)
    check_disk_for_parents(build)
    set_free_bytes(monkeypatch, 0.4 * size)  # three of seven are missing
    with pytest.raises(BuildError, match="its parents will take"):
        check_disk_for_parents(build)


def test_the_remaining_children_must_fit_on_the_disk(
    build: Build, sd: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_and_write_parts(build, "sd", sd, range(6))
    sizes = [file.stat().st_size for file in build.output.glob("images/sd/*/*")]
    set_free_bytes(monkeypatch, 0)
    check_disk_for_children(build, "sd")  # all are there
    for index in (5, 2):  # of one child, and of four
        build.parts("sd").path(index).unlink()
    set_free_bytes(monkeypatch, max(sizes) * 5 * DISK_MARGIN)
    check_disk_for_children(build, "sd")
    set_free_bytes(monkeypatch, min(sizes) * 5)
    with pytest.raises(BuildError, match=r"fakes: the other children of sd will take about \d+ kB, and the disk has "):
        check_disk_for_children(build, "sd")


def test_children_that_do_not_fit_are_refused_before_any_is_written(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MIN_CHILDREN", 1)
    set_free_bytes(monkeypatch, 20_000)  # enough for the parents
    with pytest.raises(BuildError, match=r"fakes: the children of sd will take about \d+ kB, and the disk has 20 kB"):
        run_build(build)
    assert not list(build.output.glob("build/sd/part-*"))
    assert not (build.output / "images" / "sd").exists()
    assert not (build.output / "images.parquet").exists()


def test_a_trial_measures_time_and_size(build: Build, sd: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = try_batch(build, "sd", sd, CHILDREN)
    assert 0 < trial.seconds < 30
    assert 1000 < trial.bytes < 64 * 64 * 3
    assert not build.output.exists()
    set_free_bytes(monkeypatch, trial.bytes * CHILDREN * 1.06)
    try_batch(build, "sd", sd, CHILDREN)
    set_free_bytes(monkeypatch, trial.bytes * CHILDREN * 1.04)
    with pytest.raises(BuildError, match="the children of sd will take"):
        try_batch(build, "sd", sd, CHILDREN)


def test_a_trial_measures_the_size_even_if_the_first_parent_is_missing(
    parents: Dataset, build: Build, sd: Generator, tmp_path: Path
) -> None:
    rows = [ImageRow(**row) for row in parents.images.to_pylist()]
    rows[0] = replace(rows[0], path=str(tmp_path / "gone.jpg"))
    captions = [CaptionRow(**row) for row in parents.captions.to_pylist()]
    dataset = write_dataset(tmp_path / "coco", rows, captions)
    trial = try_batch(make_build(dataset, build.output, build.root, build.generators), "sd", sd, CHILDREN)
    assert trial.bytes > 1000


def test_a_trial_measures_the_time_even_if_all_children_are_flagged(build: Build, models: Path) -> None:
    strict = load_generator(drawing("strict"), models)
    trial = try_batch(replace(build, generators={"strict": drawing("strict")}), "strict", strict, CHILDREN)
    assert trial.seconds > 0
    assert trial.bytes == 0


@pytest.mark.parametrize(("batch", "fits"), [(1, 1), (2, 2), (4, 3), (4, 4)])
def test_a_trial_finds_the_batch_that_fits(
    batch: int, fits: int, build: Build, sd: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline runs out of memory as a GPU does: with an error of PyTorch's in the middle of its call."""
    widest, decode = 0, sd._pipeline.vae.decode  # type: ignore[attr-defined]

    def decoded(latents: torch.Tensor, *rest: Any, **more: Any) -> Any:
        nonlocal widest
        if len(latents) > fits:
            raise torch.OutOfMemoryError
        widest = max(widest, len(latents))
        return decode(latents, *rest, **more)

    monkeypatch.setattr(sd._pipeline.vae, "decode", decoded)  # type: ignore[attr-defined]
    wide = replace(build, settings=build.settings.model_copy(update={"batch": batch}))
    trial = try_batch(wide, "sd", sd, CHILDREN)
    assert trial.batch == widest == {1: 1, 2: 2, 3: 2, 4: 4}[fits]
    assert trial.bytes > 1000
    notes: list[str] = []
    monkeypatch.setattr(preflight, "MIN_CHILDREN", 1)
    preflight.run_preflight(wide, "sd", sd, CHILDREN, notes.append)
    expected = [f"sd: {batch} children at once do not fit into memory; {trial.batch} do"] if fits < batch else []
    assert notes[:-1] == expected


def test_the_duration_of_a_long_build_is_noted_before_it_begins(
    parents: Dataset, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    build = make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd")}, clusters=3)
    monkeypatch.setattr(preflight, "MIN_CHILDREN", 10)
    run_build(build, note=notes.append)  # 9 children are not long
    assert notes == []
    monkeypatch.setattr(preflight, "MIN_CHILDREN", 4)
    build.paths[-1].unlink()
    build.paths[-2].unlink()
    run_build(build, note=notes.append)
    (note,) = notes
    assert re.fullmatch(
        r"sd on .+: one child took \d+\.\d\d s and \d+ kB; 5 to go: \d+ s, until .+, \d+ kB of [\d.]+ GB free", note
    )
