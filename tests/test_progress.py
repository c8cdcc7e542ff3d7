import pytest

from changeling.progress import ProgressLines, progress_bars, progress_bars_or_lines


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


def test_lines_of_a_log_are_written_first_last_and_once_a_minute_between(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("changeling.progress.monotonic", lambda: now[0])
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    for second, done in ((0, 0), (30, 500), (61, 1000), (62, 1001), (90, 2000), (91, 2000)):
        now[0] = second
        progress("sd", done, 2000)
    assert lines == ["sd: 0 of 2,000", "sd: 1,000 of 2,000", "sd: 2,000 of 2,000"]


def test_without_a_terminal_a_long_job_prints_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars_or_lines() as progress:
        progress("sd", 0, 10)
    assert capsys.readouterr().err == "sd: 0 of 10\n"
