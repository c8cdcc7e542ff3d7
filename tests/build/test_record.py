"""The record of a generator: what a build that resumes is checked against."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from changeling.build.children import draw_and_write_parts
from changeling.build.job import Build
from changeling.build.record import write_or_check_record
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset
from changeling.errors import BuildError
from changeling.generators.base import Generator
from tests import helpers
from tests.build.builds import (
    GENERATORS,
    CachingGenerator,
    drawing,
    make_build,
)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"steps": 2}, "steps 1, now it is 2"),
        ({"guidance": 7.0}, "guidance 7.5, now it is 7.0"),
        ({"negative_prompt": "hands"}, "negative_prompt '', now it is 'hands'"),
        ({"redraws": 3}, "redraws 4, now it is 3"),
        ({"scheduler": "DDIMScheduler"}, "scheduler.class 'PNDMScheduler', now it is 'DDIMScheduler'"),
        ({"safety_checker": "off"}, "safety_checker 'its own', now it is 'off'"),
        ({"arguments": {"eta": 0.5}}, "arguments.eta None, now it is 0.5"),
        ({"model": "strict"}, "model 'sd', now it is 'strict'"),
    ],
    ids=str,
)
def test_settings_that_change_during_a_build_are_refused_by_name(
    settings: dict[str, Any],
    key: str,
    build: Build,
    parents: Dataset,
    models: Path,
    caching: dict[str, CachingGenerator],
) -> None:
    draw_and_write_parts(build, "sd", caching["sd"], [0])
    before = helpers.contents(build.output)
    other = make_build(parents, build.output, models, {"sd": drawing(**{"model": "sd"} | settings)})
    with pytest.raises(BuildError) as caught:
        run_build(other)
    assert f"fakes: children of sd were made with {key}; go back, or move" in str(caught.value)
    assert "\n" not in str(caught.value)
    after = helpers.contents(build.output)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if "/sd/" in name} == {name for name in before if "/sd/" in name}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 1}, "seed 0, now it is 1"),
        ({"size": 32}, "saved.size None, now it is 32"),
        ({"encoding": "off"}, "saved.encoding 'matched', now it is 'off'"),
    ],
    ids=str,
)
def test_another_seed_or_encoding_is_refused(
    change: dict[str, Any], key: str, build: Build, loaded: dict[str, Generator]
) -> None:
    write_or_check_record(build, "sd", loaded["sd"])
    other = make_build(build.parents.dataset, build.output, build.root, GENERATORS, **change)
    with pytest.raises(BuildError, match=f"made with {key}"):
        draw_and_write_parts(other, "sd", loaded["sd"], [0])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"steps": 2}, "steps 1, now it is 2"),
        ({"arguments": {"eta": 1}}, "arguments.eta None, now it is 1"),
        ({"model": "sd2"}, "model 'picky', now it is 'sd2'"),
        ({"precision": "float16"}, "precision 'float32', now it is 'float16'"),
        ({"safety_checker": "off"}, "safety_checker 'its own', now it is 'off'"),
        ({"safety_checker": "strict"}, "safety_checker 'its own', now it is 'strict'"),
        ({"scheduler": "DDIMScheduler"}, "scheduler.class 'PNDMScheduler', now it is 'DDIMScheduler'"),
        ({"seed": 3}, "seed 0, now it is 3"),
    ],
    ids=str,
)
def test_settings_that_change_after_a_build_are_refused_without_loading_a_model(
    settings: dict[str, Any], key: str, build: Build, finished: Path, expected: dict[str, bytes]
) -> None:
    shutil.copytree(finished, build.output)
    seed = settings.get("seed", 0)
    generators = (
        {"sd": GENERATORS["sd"]}
        if seed
        else {"sd": GENERATORS["sd"], "picky": GENERATORS["picky"].model_copy(update=settings)}
    )
    with pytest.raises(BuildError, match=f"made with {key}; go back, or move"):
        run_build(make_build(build.parents.dataset, build.output, Path("nowhere"), generators, seed))
    assert helpers.contents(build.output) == expected


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff"])
def test_the_error_for_a_broken_record_names_its_file(data: bytes, build: Build, loaded: dict[str, Generator]) -> None:
    write_or_check_record(build, "sd", loaded["sd"])
    (build.output / "build" / "sd" / "generator.json").write_bytes(data)
    with pytest.raises(BuildError, match=r"sd/generator.json cannot be read; move its folder away and build again"):
        write_or_check_record(build, "sd", loaded["sd"])
