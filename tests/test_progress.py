import pytest

from changeling.progress import progress_bars


def test_descriptions_that_differ_in_details_share_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as rich sees it
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bars() as progress:
        progress("S: loss 0.9", 1, 2)
        progress("T: loss 0.8", 1, 2)
        progress("S: loss 0.5", 2, 2)
    first, second = [line for line in capsys.readouterr().err.splitlines() if "loss" in line][-2:]
    assert "S: loss 0.5" in first
    assert "2/2" in first
    assert "T: loss 0.8" in second


def test_nothing_is_shown_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("images", 1, 1)
    assert capsys.readouterr().err.strip() == ""
