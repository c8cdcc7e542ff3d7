"""The page in a real browser: wide, narrow, dark, printed, and alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from changeling.experiments.result import Result
from changeling.report import write_report
from tests import helpers
from tests.report import samples

pytestmark = pytest.mark.browser
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = helpers.program("chromium", "chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(study: list[Result], pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(study, tmp_path_factory.mktemp("report") / "index.html", root=pictures).as_uri()


@pytest.fixture(params=[1280, 390])
def page(browser: Browser, report: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": request.param, "height": 844})
    opened.goto(report)
    yield opened
    opened.close()


def test_nothing_is_asked_of_the_network(browser: Browser, report: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report, wait_until="networkidle")
    page.close()
    assert [url for url in asked if not url.startswith("data:")] == [report]
    assert said == []


def test_the_page_does_not_scroll_sideways(page: Page) -> None:
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "e => { const r = e.getBoundingClientRect(); return [r.left, r.right] }"
    for part in page.locator("figure, h1, h2, h3, .panel svg, .facts, .scroll").all():
        left, right = part.evaluate(inside)
        assert left >= 0
        assert right <= width


def test_tables_figures_and_pictures_are_seen(page: Page) -> None:
    assert page.locator("table").count() == 4
    assert page.locator(".panel svg").count() == 6
    for part in page.locator("table, .panel svg, .tile img").all():
        box = part.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 5
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_text_in_figures_is_large_enough_and_stays_inside(page: Page) -> None:
    for panel in page.locator(".panel svg").all():
        sizes, outside = panel.evaluate(
            """svg => {
                const box = svg.getBoundingClientRect(), all = [...svg.querySelectorAll("text")];
                const scale = box.width / svg.viewBox.baseVal.width;
                const rects = all.map(t => t.getBoundingClientRect());
                return [all.map(t => parseFloat(getComputedStyle(t).fontSize) * scale),
                        rects.filter(r => r.left < box.left - 8 || r.right > box.right + 8).length];
            }"""
        )
        assert min(sizes) >= 8
        assert outside == 0


def test_a_dark_scheme_is_kept_and_paper_stays_white(browser: Browser, report: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(report)
    ground = "getComputedStyle(document.body).backgroundColor"
    words = "[...new Set([...document.querySelectorAll('.panel svg text')].map(t => getComputedStyle(t).fill))].sort()"
    assert page.evaluate(ground) == "rgb(21, 23, 26)"
    assert page.evaluate(words) == ["rgb(162, 169, 180)", "rgb(231, 233, 236)"]
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate(words) == ["rgb(28, 30, 33)", "rgb(91, 98, 112)"]
    page.close()


def test_the_page_can_be_printed(browser: Browser, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    printed = page.pdf(prefer_css_page_size=True)
    page.close()
    assert printed.startswith(b"%PDF")
    pages = printed.count(b"/Type /Page\n")
    assert 4 <= pages <= 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of the paper's size."""
    return write_report(samples.full_study(400), tmp_path_factory.mktemp("whole") / "index.html").as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_whole_study_fits_any_screen(browser: Browser, whole: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(whole)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in page.locator("figure, .panel svg, .map svg, .facts, .scroll, .legend, .words").all():
        left, right = part.evaluate("e => { const r = e.getBoundingClientRect(); return [r.left, r.right] }")
        assert left >= 0
        assert right <= width
    sizes = page.evaluate(
        """[...document.querySelectorAll(".plots svg text, .map svg text")].map(
            t => parseFloat(getComputedStyle(t).fontSize)
                * t.ownerSVGElement.getBoundingClientRect().width / t.ownerSVGElement.viewBox.baseVal.width)"""
    )
    assert min(sizes) >= 8
    page.close()


def test_twelve_columns_fit_a_wide_screen_and_a_narrow_one_shows_that_there_is_more(
    browser: Browser, whole: str
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto(whole)
    table = page.locator(".scroll", has=page.locator("table.wide"))
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    assert rim(page, table) < 5
    page.set_viewport_size({"width": 390, "height": 844})
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") > 100
    assert rim(page, table) > 30
    table.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    assert rim(page, table) < 5
    page.close()


def rim(page: Page, table: Locator) -> float:
    """How much darker the right edge of a table is than its paper, of 255."""
    page.wait_for_timeout(100)
    image = np.asarray(Image.open(BytesIO(table.screenshot())).convert("L"), dtype=np.float64)
    return float(255 - np.median(image[:, -3:].mean(axis=1)))


def test_stencils_show_the_pages_colours_by_day_and_by_night(browser: Browser, whole: str) -> None:
    for scheme, paper, colours in (
        ("light", (255, 255, 255), ((0x2B, 0x6C, 0xB0), (0xC2, 0x41, 0x0C))),
        ("dark", (21, 23, 26), ((0x7F, 0xB2, 0xEA), (0xF0, 0x95, 0x5F))),
    ):
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 844})  # type: ignore[arg-type]
        page.goto(whole)
        shot = page.locator(".map svg", has=page.locator("mask")).nth(1).screenshot()
        pixels = np.asarray(Image.open(BytesIO(shot)).convert("RGB"), dtype=np.int64)
        for colour in (paper, *colours):
            near = np.abs(pixels - colour).max(axis=2) < 24
            assert near.sum() > 100
        page.close()


def test_a_whole_study_is_printed_with_wide_tables_across(browser: Browser, whole: str) -> None:
    page = browser.new_page()
    page.goto(whole)
    printed = page.pdf(prefer_css_page_size=True)
    page.close()
    sizes = [tuple(map(float, size)) for size in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)]
    assert 10 <= len(sizes) <= 18
    assert sum(width > height for width, height in sizes) == 1
