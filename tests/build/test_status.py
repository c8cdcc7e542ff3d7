"""How far a build is said to be, by what is on disk."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from changeling.build.children import seed_of
from changeling.build.job import Build
from changeling.build.parts import PARENTS
from changeling.build.status import Count, count, free_bytes, idle, show_status, until
from changeling.datasets.dataset import Dataset
from tests.build.builds import CAPTIONS, PART_SIZE, SPLITS

CHILDREN = 7 * CAPTIONS


def show(build: Build, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as said:
        show_status(build, console)
    return said.get()


def without(build: Build, name: str, indices: Sequence[int]) -> Build:
    """Remove parts, and with them the dataset."""
    for index in indices:
        build.parts(name).path(index).unlink()
    (build.output / "images.parquet").unlink(missing_ok=True)
    return build


def test_all_is_counted_of_a_build_that_is_done(whole: Build) -> None:
    rows = Dataset(whole.output).images.to_pylist()
    parents, picky, strict, rebuilt = count(whole)
    assert [one.name for one in (parents, picky, strict, rebuilt)] == [PARENTS, "picky", "strict", "tiny vae"]
    assert [one.total for one in (parents, picky, strict, rebuilt)] == [7, CHILDREN, CHILDREN, 7]
    assert [(one.done, one.left) for one in (parents, rebuilt)] == [(7, 0), (7, 0)]
    assert parents.splits == rebuilt.splits == {"train": 3, "val": 2, "test": 2}
    assert strict.status == {"flagged": CHILDREN}
    assert (strict.splits, strict.redrawn, strict.disk_left) == ({}, 0, 0)  # each was drawn once
    good = [row for row in rows if row["generator"] == "picky" and row["status"] == "ok"]
    later = [row for row in good if row["seed"] > seed_of(0, row["cluster_id"], row["caption_index"], "picky")]
    assert len(later) >= 2
    assert picky.redrawn == len(later) + picky.status["flagged"]
    assert picky.status["flagged"] >= 1
    assert picky.status["ok"] == len(good)
    assert picky.splits == {split: sum(row["split"] == split for row in good) for split in SPLITS}


def test_what_is_left_is_counted_of_a_build_that_is_half_done(copy: Build) -> None:
    rows = [row for row in Dataset(copy.output).images.to_pylist() if row["generator"] == "picky"]
    _, picky, strict, _ = count(without(without(copy, "picky", [2, 5]), "strict", range(6)))
    written = CHILDREN - PART_SIZE - 1  # the last part has one image
    assert (picky.done, picky.left, picky.total) == (written, PART_SIZE + 1, CHILDREN)
    assert (strict.done, strict.left) == (0, CHILDREN)
    kept = [
        row["split"] for row in rows[: 2 * PART_SIZE] + rows[3 * PART_SIZE : 5 * PART_SIZE] if row["status"] == "ok"
    ]
    assert picky.splits == {split: kept.count(split) for split in SPLITS}


def test_nothing_is_done_before_a_build(copy: Build, tmp_path: Path) -> None:
    new = replace(copy, output=tmp_path / "new")
    assert [(one.done, one.speed, one.disk_left) for one in count(new)] == [(0, 0, 0)] * 4
    assert idle(new) == float("inf")
    said = show(new)
    assert said.count("not known yet") == 4
    assert said.splitlines()[-1] == "0 of 56 images are done; the dataset is not written yet"


def test_speed_and_time_left_are_those_of_the_last_parts(copy: Build) -> None:
    without(copy, "picky", [5])
    now = time.time()
    for index in range(5):
        os.utime(copy.parts("picky").path(index), (now, now - 10 * (5 - index)))
    picky = count(copy)[1]
    assert picky.speed == pytest.approx(PART_SIZE / 10, rel=1e-4)
    line = next(line for line in show(copy).splitlines() if line.startswith("picky"))
    assert re.fullmatch(r"picky +20 +21 +\d+ +\d+ +0 +1,440 +2 s, until \w{3} \d\d \w{3} \d\d:\d\d *", line)


def test_the_disk_that_is_needed_is_that_of_images_alike(copy: Build) -> None:
    sizes = [path.stat().st_size for path in sorted((copy.output / "images" / "picky").rglob("*.*"))]
    without(copy, "picky", [4, 5])
    picky = count(copy)[1]
    assert picky.sampled == 4
    assert min(sizes) <= picky.disk_left / (PART_SIZE + 1) <= max(sizes)
    assert Count("x", 10, sampled=2, bytes=20).disk_left == 100


def test_an_image_that_is_gone_does_not_hide_how_far_a_build_is(copy: Build) -> None:
    for path in (copy.output / "images").rglob("*.*"):
        path.unlink()
    assert [one.left for one in count(without(copy, "picky", [5]))] == [0, 1, 0, 0]
    assert "picky" in show(copy)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_says_every_number_at_any_width(width: int, copy: Build) -> None:
    without(copy, "strict", [0])
    said = show(copy, width)
    assert "…" not in said
    names = {line.split("  ")[0]: line for line in said.splitlines()}
    assert names.keys() >= {"parents", "picky", "strict", "tiny vae"}
    assert re.match(r"strict +17 +21 +0 +17 +0 ", names["strict"])
    assert re.match(r"parents +7 +7 +0 +0 +0 +[\d,]+ +done", names["parents"])
    assert re.search(r"disk: about \d+ kB more needed, [\d.]+ GB free", said)
    assert "the dataset is not written yet; the last part was written" in " ".join(said.split())


def test_a_dataset_that_is_written_is_said_to_be(copy: Build) -> None:
    assert "the dataset is written; the last part was written" in show(copy)


def test_a_dataset_that_lacks_a_generator_is_not_said_to_be_written(copy: Build) -> None:
    more = replace(copy, generators={**copy.generators, "new": copy.generators["picky"]})
    assert (copy.output / "images.parquet").exists()
    assert "the dataset is not written yet" in show(more)


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s ago"), (119, "119 s ago"), (600, "10 min ago")])
def test_when_the_last_part_was_written(seconds: int, said: str, copy: Build) -> None:
    for path in copy.paths:
        os.utime(path, (time.time() - 9999,) * 2)
    os.utime(copy.paths[5], (time.time() - seconds,) * 2)
    assert seconds <= idle(copy) < seconds + 2
    assert re.search(said.replace(f"{seconds} s", rf"({seconds}|{seconds + 1}) s"), show(copy))


def test_names_are_shown_as_they_are(copy: Build) -> None:
    odd = "a [bold]b[/bold] [/c]"
    assert f"{odd} " in show(replace(copy, generators={odd: copy.generators["picky"]}))


@pytest.mark.parametrize(
    ("seconds", "length"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59, "59 s"),
        (60, "1 min"),
        (150, "2 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (3 * 3600 + 600, "3 h 10 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 0 h"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_a_duration_and_when_it_ends_are_said_in_words(seconds: float, length: str) -> None:
    ends = [f"{datetime.now() + timedelta(seconds=seconds):%a %d %b %H:%M}"]
    said = until(seconds)
    ends.append(f"{datetime.now() + timedelta(seconds=seconds):%a %d %b %H:%M}")  # a minute may pass meanwhile
    assert said in [f"{length}, until {end}" for end in ends]


def test_a_folder_that_is_not_there_yet_is_on_its_parents_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(free_bytes(tmp_path), rel=0.1)
    monkeypatch.chdir(tmp_path)
    assert free_bytes(Path("not/there")) > 0
