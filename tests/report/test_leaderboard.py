"""The leaderboard page: what is in it, and what it does in a browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from changeling.errors import ReportError
from changeling.report.exports import format_tables_csv
from changeling.report.leaderboard import write_leaderboard
from changeling.report.leaderboard.boards import make_board, pivot_table
from changeling.report.leaderboard.cells import Scale, choose_scale, make_cell
from changeling.report.leaderboard.pairs import list_pairs
from changeling.results.result import Column, Estimate, Row, Table
from tests.helpers import PAGE_TIMEOUT
from tests.report import leaderboards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a leaderboard and its pictures."""
    path = tmp_path_factory.mktemp("leaderboard")
    sheet = leaderboards.make_sheet(path, ["a.png"])
    write_leaderboard(leaderboards.make_evaluation(), path / "leaderboard.html", [sheet])
    return path


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """The page on a phone."""
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.set_default_timeout(PAGE_TIMEOUT)
    opened.goto((folder / "leaderboard.html").as_uri())
    yield opened
    opened.close()


def list_names(page: Page, table: str) -> list[str]:
    return page.locator(f"table[aria-labelledby={table}] tbody th.label:first-child").all_inner_texts()


def test_the_same_result_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    sheet = leaderboards.make_sheet(tmp_path, ["a.png"])
    written = write_leaderboard(leaderboards.make_evaluation(), tmp_path / "again.html", [sheet])
    assert written.read_bytes() == (folder / "leaderboard.html").read_bytes()


def test_the_best_detector_is_first_and_what_failed_is_last() -> None:
    board = make_board(leaderboards.make_leaderboard())
    names = [line.labels[0] for line in board.lines]
    assert (names[0], names[-1]) == ("changeling", "onnx:broken.onnx (failed)")
    assert board.groups == [("AUROC", 4), ("Balanced accuracy", 3)]
    assert [cell.is_best for cell in board.lines[0].cells] == 7 * [True]
    assert board.lines[-1].cells[0].sort_key == ""


def test_the_lowest_brier_score_is_the_best_and_abstention_has_no_best() -> None:
    board = make_board(leaderboards.make_metrics())
    assert [line.labels[0] for line in board.lines if line.cells[1].is_best] == ["changeling"]
    assert not any(line.cells[2].is_best for line in board.lines)


def test_a_table_by_generator_has_the_detectors_as_columns() -> None:
    boards = pivot_table(leaderboards.make_breakdown("by_generator", "Generator", leaderboards.GENERATORS))
    assert [board.title for board in boards][:2] == ["AUROC: Clean", "AUROC: Web"]
    assert [line.labels[0] for line in boards[0].lines] == list(leaderboards.GENERATORS)
    assert [heading.label for heading in boards[0].headings] == list(leaderboards.QUALITY)
    assert [cell.value for cell in boards[0].lines[1].cells] == ["88.0", "80.0", "75.0", "66.0", "60.0"]


def test_a_table_by_generator_marks_the_lowest_of_what_is_better_low() -> None:
    table = leaderboards.make_metrics()
    auroc, brier, _ = table.columns
    for column, best in ((auroc, "changeling"), (brier, "changeling")):
        (board,) = pivot_table(table.model_copy(update={"columns": (column,), "labels": ("Images", "Detector")}))
        marked = [
            heading.label for heading, cell in zip(board.headings, board.lines[0].cells, strict=True) if cell.is_best
        ]
        assert marked == [best]
        assert {heading.better for heading in board.headings} == {column.better}
    lowest_first = make_board(table.model_copy(update={"columns": (brier,)}))
    assert lowest_first.lines[0].labels[0] == "changeling"


def test_a_column_without_a_group_is_called_as_it_is() -> None:
    table = leaderboards.make_metrics()
    assert [board.title for board in pivot_table(table)] == ["AUROC", "Brier score"]


def test_each_pair_is_compared_both_ways() -> None:
    pairs = list_pairs(leaderboards.make_differences())
    forth, back = pairs["changeling", "sahu65"], pairs["sahu65", "changeling"]
    assert (forth.main.cell.value, forth.main.cell.interval, forth.main.sign) == ("22.0", "16.5–27.5", 1)
    assert (back.main.cell.value, back.main.cell.interval, back.main.sign) == ("−22.0", "−27.5 to −16.5", -1)
    assert forth.finding == back.finding
    assert forth.finding == "AUROC, clean: changeling is better than sahu65; the interval does not contain zero."
    unclear = pairs["univfd:fc_weights.pth", "hf:someone/vit-base-ai-detector"]
    assert (unclear.main.sign, unclear.finding[:40]) == (0, "AUROC, clean: the interval contains zero")
    assert len(unclear.differences) == 6
    assert len({pair.number for pair in pairs.values()}) == len(pairs) == 20


def test_a_bar_ends_at_the_ends_of_its_scale() -> None:
    low = leaderboards.make_estimate(0.45)
    assert choose_scale([low, None], 0.5) == Scale(0.4, 1.0)
    assert choose_scale([], 0.5) == Scale(0.5, 1.0)
    cell = make_cell(Estimate(value=0.99, low=0.97, high=float("nan"), clusters=1, images=1), Scale(0.5, 1.0), 0.5)
    assert (cell.value, cell.interval) == ("99.0", "")
    assert make_cell(leaderboards.make_estimate(0.3), Scale(0.5, 1.0), None).bar is not None
    assert Scale(0.5, 1.0).place(0.3) == 0
    assert Scale(0.5, 1.0).place(0.75) == 50


def test_downloads_are_the_tables_with_all_digits(folder: Path) -> None:
    text = (folder / "leaderboard.html").read_text(encoding="utf-8")
    contents = [base64.b64decode(data).decode() for data in re.findall(r'href="data:[^,"]+;base64,([^"]+)"', text)]
    assert contents[0] == format_tables_csv([leaderboards.make_evaluation()])
    assert contents[1].count(r"\begin{tabular}") == 5


def test_a_pair_that_lacks_the_metric_of_the_others_names_its_own(tmp_path: Path) -> None:
    result = leaderboards.make_evaluation()
    differences = result.tables[-1]
    rows = [*differences.rows]
    cells = {key: cell for key, cell in rows[1].cells.items() if key != "auroc_clean"}
    rows[1] = rows[1].model_copy(update={"cells": cells})
    changed = differences.model_copy(update={"rows": tuple(rows)})
    pages = []
    for number, table in enumerate((differences, changed)):
        tables = (*result.tables[:-1], table)
        path = write_leaderboard(result.model_copy(update={"tables": tables}), tmp_path / f"{number}.html")
        pages.append(path.read_text(encoding="utf-8"))
    assert "AUROC, clean: the detector of the row minus" in pages[0]
    assert '</button><span class="small">' not in pages[0]
    assert "AUROC, clean, unless a cell names another metric: the detector of the row minus" in pages[1]
    assert pages[1].count('</button><span class="small">AUROC, web</span>') == 2


def test_names_are_escaped(tmp_path: Path) -> None:
    cells = {"auroc": leaderboards.make_estimate(0.7)}
    table = Table(
        key="leaderboard",
        title="One",
        labels=("Detector",),
        columns=(Column(key="auroc", label="AUROC"),),
        rows=(Row(labels={"Detector": "<script>alert(1)</script>"}, cells=cells),),
    )
    result = leaderboards.make_evaluation()
    path = write_leaderboard(result.model_copy(update={"tables": (table,)}), tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_another_result_is_an_error(tmp_path: Path) -> None:
    result = leaderboards.make_evaluation().model_copy(update={"tables": ()})
    with pytest.raises(ReportError, match="has no leaderboard; run `changeling evaluate` first"):
        write_leaderboard(result, tmp_path / "page.html")


@pytest.mark.browser
def test_a_header_sorts_with_the_mouse_and_with_the_keyboard(page: Page) -> None:
    header = page.locator("table[aria-labelledby=leaderboard] th", has_text="Hard").first
    button = header.get_by_role("button")
    button.click()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert list_names(page, "leaderboard")[0] == "changeling"
    button.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert list_names(page, "leaderboard")[0] == "sahu65"
    assert list_names(page, "leaderboard")[-2:] == ["file properties only", "onnx:broken.onnx (failed)"]
    names = page.locator("table[aria-labelledby=leaderboard] th", has_text="Detector").get_by_role("button")
    names.click()
    assert list_names(page, "leaderboard") == sorted([*leaderboards.QUALITY, "onnx:broken.onnx (failed)"])


@pytest.mark.browser
def test_a_difference_opens_on_click_and_closes_with_escape(page: Page) -> None:
    page.get_by_role("button", name="changeling against sahu65: 22.0").click()
    popup = page.get_by_role("dialog", name="changeling against sahu65")
    expect(popup).to_be_visible()
    expect(popup.locator("tbody tr")).to_have_count(6)
    page.keyboard.press("Escape")
    expect(popup).to_be_hidden()


@pytest.mark.browser
def test_without_a_script_and_a_network_only_sorting_is_missing(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(PAGE_TIMEOUT)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((folder / "leaderboard.html").as_uri())
    assert list_names(page, "leaderboard")[0] == "changeling"
    shown = page.locator("#by_generator ~ .choice:visible")
    expect(shown).to_have_count(1)
    page.get_by_text("Accuracy: Hard").first.click()
    expect(shown.get_by_role("columnheader", name="sahu65")).to_be_visible()
    expect(shown).to_have_attribute("data-choice", "6")
    expect(page.get_by_text("Select the header")).to_be_hidden()
    context.close()
    assert [url for url in requests if not url.startswith("data:")] == [(folder / "leaderboard.html").as_uri()]


@pytest.mark.browser
def test_the_page_has_no_violations_of_accessibility_rules(page: Page) -> None:
    page.get_by_role("button", name="changeling against sahu65: 22.0").click()
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []


@pytest.mark.browser
def test_a_phone_needs_no_scrolling_sideways(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator(".tile .frame").first.inner_text() == "no such file"
