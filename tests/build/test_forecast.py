"""The estimate of a build before it is started."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from changeling.build import forecast
from changeling.build.forecast import forecast_build
from changeling.build.job import Build
from changeling.build.preflight import Trial
from tests.build.test_counts import without


def test_missing_children_are_multiplied_by_the_trial_and_shared(copy: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    without(copy, "picky", range(6))
    monkeypatch.setattr(forecast, "try_batch", lambda *_: Trial(seconds=60.0, bytes=200_000, batch=1))
    notes: list[str] = []
    forecast_build(copy, 7, notes.append)
    picky, *done, total = notes
    assert re.fullmatch(r"picky on .+: 21 children of 60\.00 s and 200 kB: 21 min, 4\.2 MB", picky)
    assert done == ["strict: done", "tiny vae: done"]
    assert re.match(r"all children in 7 processes as fast as this one: 3 min, until .*, 4\.2 MB of .* free", total)


def test_nothing_is_written(copy: Build, tmp_path: Path) -> None:
    new = replace(copy, output=tmp_path / "new", generators={"picky": copy.generators["picky"]})
    notes: list[str] = []
    forecast_build(new, 1, notes.append)
    assert not new.output.exists()
    assert [line.partition(":")[0].partition(" on ")[0] for line in notes] == ["picky", "all children in one process"]
