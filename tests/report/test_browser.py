"""The page in a real browser: wide, narrow, dark, and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.helpers import PAGE_TIMEOUT

pytestmark = pytest.mark.browser


PAGES = [("report", 1280), ("report", 390), ("full_report", 1280), ("full_report", 390)]


@pytest.fixture(scope="module", params=PAGES, ids=str)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    name, width = request.param
    opened = browser.new_page(viewport={"width": width, "height": 844})
    opened.set_default_timeout(PAGE_TIMEOUT)
    opened.goto(request.getfixturevalue(name).as_uri())
    yield opened
    opened.close()


def test_the_page_makes_no_requests(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PAGE_TIMEOUT)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(report.as_uri(), wait_until="networkidle")
    page.close()
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert messages == []


def test_the_page_does_not_scroll_sideways(page: Page) -> None:
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])"
    parts = "figure, h1, h2, h3, .panel svg, .map svg, .settings, .scroll, .legend"
    for left, right in page.locator(parts).evaluate_all(inside):
        assert left >= 0
        assert right <= width


def test_tables_figures_and_images_are_visible(page: Page) -> None:
    sizes = "all => all.map(e => e.getBoundingClientRect()).map(r => Math.min(r.width, r.height))"
    for part in ("table", ".panel svg", ".map svg", ".tile img"):
        assert min(page.locator(part).evaluate_all(sizes)) > 5
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_text_in_figures_is_large_enough_and_inside(page: Page) -> None:
    sizes, outside = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll(".panel svg text, .map svg text")];
            const box = t => t.ownerSVGElement.getBoundingClientRect();
            const scale = t => box(t).width / t.ownerSVGElement.viewBox.baseVal.width;
            const past = t => Math.max(box(t).left - t.getBoundingClientRect().left,
                                       t.getBoundingClientRect().right - box(t).right) > 8;
            return [all.map(t => parseFloat(getComputedStyle(t).fontSize) * scale(t)),
                    all.filter(past).map(t => t.textContent)];
        }"""
    )
    assert min(sizes) >= 8
    assert outside == []


def test_legends_have_the_scale_of_their_plots(page: Page) -> None:
    scale = "all => all.map(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width)"
    drawn, legends = (page.locator(part).evaluate_all(scale) for part in (".plots svg", ".legend svg.line"))
    assert max(drawn) / min(legends) < 1.5
    assert max(legends) / min(drawn) < 1.5


def test_the_dark_scheme_is_used_on_screen_but_not_in_print(browser: Browser, report: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.set_default_timeout(PAGE_TIMEOUT)
    page.goto(report.as_uri())
    background = "getComputedStyle(document.body).backgroundColor"
    text_colours = (
        "[...new Set([...document.querySelectorAll('.panel svg text')].map(t => getComputedStyle(t).fill))].sort()"
    )
    assert page.evaluate(background) == "rgb(21, 23, 26)"
    assert page.evaluate(text_colours) == ["rgb(162, 169, 180)", "rgb(231, 233, 236)"]
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.evaluate(text_colours) == ["rgb(28, 30, 33)", "rgb(91, 98, 112)"]
    page.close()


def test_a_wide_table_fits_a_wide_screen_and_has_a_shadow_on_a_narrow_one(browser: Browser, full_report: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.set_default_timeout(PAGE_TIMEOUT)
    page.goto(full_report.as_uri())
    table = page.locator(".scroll", has=page.locator("table.wide")).first
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    assert measure_shadow(page, table) < 5
    page.set_viewport_size({"width": 390, "height": 844})
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") > 100
    assert measure_shadow(page, table) > 30
    table.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    assert measure_shadow(page, table) < 5
    page.close()


def measure_shadow(page: Page, table: Locator) -> float:
    """How much darker than white the right edge of a table is, from 0 to 255."""
    page.wait_for_timeout(100)
    image = np.asarray(Image.open(BytesIO(table.screenshot())).convert("L"), dtype=np.float64)
    return float(255 - np.median(image[:, -3:].mean(axis=1)))


def test_masks_have_the_colours_of_both_schemes(browser: Browser, full_report: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.set_default_timeout(PAGE_TIMEOUT)
    page.goto(full_report.as_uri())
    for scheme, paper, colours in (
        ("light", (255, 255, 255), ((0x2B, 0x6C, 0xB0), (0xC2, 0x41, 0x0C))),
        ("dark", (21, 23, 26), ((0x7F, 0xB2, 0xEA), (0xF0, 0x95, 0x5F))),
    ):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        shot = page.locator(".map svg", has=page.locator("mask")).nth(1).screenshot()
        pixels = np.asarray(Image.open(BytesIO(shot)).convert("RGB"), dtype=np.int64)
        for colour in (paper, *colours):
            near = np.abs(pixels - colour).max(axis=2) < 24
            assert near.sum() > 100
    page.close()
