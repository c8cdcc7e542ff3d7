"""Bars: one for each thing that is done, whatever the detail that it shows meanwhile."""

import pytest

from changeling.progress import bars


def test_a_detail_that_changes_stays_one_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as rich sees it
    monkeypatch.setenv("COLUMNS", "120")
    with bars() as progress:
        progress("S: loss 0.9", 1, 2)
        progress("T: loss 0.8", 1, 2)
        progress("S: loss 0.5", 2, 2)
    first, second = [line for line in capsys.readouterr().err.splitlines() if "loss" in line][-2:]
    assert "S: loss 0.5" in first
    assert "2/2" in first
    assert "T: loss 0.8" in second


def test_what_is_no_terminal_sees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as progress:
        progress("images", 1, 1)
    assert capsys.readouterr().err.strip() == ""
