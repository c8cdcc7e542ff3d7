"""The printed progress of a build."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from changeling.build.counts import count_build
from changeling.build.job import Build
from changeling.build.status import print_status, seconds_since_last_part
from tests.build.builds import (
    PART_SIZE,
)
from tests.build.test_counts import without


def print_to_text(build: Build, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as text:
        print_status(build, console)
    return text.get()


def test_before_a_build_nothing_is_done(copy: Build, tmp_path: Path) -> None:
    new = replace(copy, output=tmp_path / "new")
    assert [(count.done, count.images_per_second, count.remaining_bytes) for count in count_build(new)] == [
        (0, 0, 0)
    ] * 4
    assert seconds_since_last_part(new) == float("inf")
    text = print_to_text(new)
    assert text.count("not known yet") == 4
    assert text.splitlines()[-1] == "0 of 56 images are done; the dataset is not written yet"


def test_speed_and_time_left_are_those_of_the_last_parts(copy: Build) -> None:
    without(copy, "picky", [5])
    now = time.time()
    for index in range(5):
        os.utime(copy.parts("picky").path(index), (now, now - 10 * (5 - index)))
    picky = count_build(copy)[1]
    assert picky.images_per_second == pytest.approx(PART_SIZE / 10, rel=1e-4)
    line = next(line for line in print_to_text(copy).splitlines() if line.startswith("picky"))
    assert re.fullmatch(r"picky +20 +21 +\d+ +\d+ +0 +1,440 +2 s, until \w{3} \d\d \w{3} \d\d:\d\d *", line)


def test_a_build_whose_page_is_refreshed_is_not_stopped(copy: Build) -> None:
    without(copy, "picky", [5])
    long_ago = time.time() - 24 * 3600
    for path in copy.paths:
        if path.exists():
            os.utime(path, (long_ago, long_ago))
    page = copy.output / "build" / "index.html"
    page.touch()
    assert "stopped" not in print_to_text(copy)
    os.utime(page, (long_ago, long_ago))
    assert "stopped" in print_to_text(copy)


def test_disk_space_is_estimated_only_for_generators_with_files(copy: Build) -> None:
    assert "disk:" not in print_to_text(copy)
    without(copy, "picky", range(6))
    assert "disk: how much is needed is known after the first part, " in print_to_text(copy)
    without(copy, "parents", [1])
    assert re.search(r"disk: about \d+ kB more needed, without picky, [\d.]+ GB free", print_to_text(copy))


def test_missing_image_files_do_not_hide_the_progress(copy: Build) -> None:
    for path in (copy.output / "images").rglob("*.*"):
        path.unlink()
    assert [count.remaining for count in count_build(without(copy, "picky", [5]))] == [0, 1, 0, 0]
    assert "picky" in print_to_text(copy)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_every_number_at_any_width(width: int, copy: Build) -> None:
    without(copy, "strict", [0])
    text = print_to_text(copy, width)
    assert "…" not in text
    names = {line.split("  ")[0]: line for line in text.splitlines()}
    assert names.keys() >= {"parents", "picky", "strict", "tiny vae"}
    assert re.match(r"strict +17 +21 +0 +17 +0 ", names["strict"])
    assert re.match(r"parents +7 +7 +0 +0 +0 +[\d,]+ +done", names["parents"])
    assert re.search(r"disk: about \d+ kB more needed, [\d.]+ GB free", text)
    assert "the dataset is not written yet; the last part was written" in " ".join(text.split())


def test_a_written_dataset_is_reported(copy: Build) -> None:
    assert "the dataset is written; the last part was written" in print_to_text(copy)


def test_a_dataset_without_a_generator_is_not_reported_as_written(copy: Build) -> None:
    more = replace(copy, generators={**copy.generators, "new": copy.generators["picky"]})
    assert (copy.output / "images.parquet").exists()
    assert "the dataset is not written yet: images.parquet is an earlier one" in print_to_text(more)


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s ago"), (119, "119 s ago"), (600, "10 min ago")])
def test_when_the_last_part_was_written(seconds: int, text: str, copy: Build) -> None:
    for path in copy.paths:
        os.utime(path, (time.time() - 9999,) * 2)
    os.utime(copy.paths[5], (time.time() - seconds,) * 2)
    assert seconds <= seconds_since_last_part(copy) < seconds + 2
    assert re.search(text.replace(f"{seconds} s", rf"({seconds}|{seconds + 1}) s"), print_to_text(copy))


def test_names_are_printed_without_markup(copy: Build) -> None:
    odd = "a [bold]b[/bold] [/c]"
    assert f"{odd} " in print_to_text(replace(copy, generators={odd: copy.generators["picky"]}))
