"""The printed page: nothing is cut off and no heading ends a page, whatever fonts are installed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pypdfium2 as pdfium
import pytest
from playwright.sync_api import Browser, Page

from tests.helpers import PAGE_TIMEOUT

pytestmark = pytest.mark.browser

INSTALLED = "installed fonts"
FONTS = (INSTALLED, "DejaVuSansMono")  # Matplotlib brings the last one, which is very wide
PORTRAIT, LANDSCAPE = 680, 1009  # CSS pixels between the margins of A4
HEIGHTS = {PORTRAIT: 1024, LANDSCAPE: 703}  # of the same
MARGIN = 34  # points: the margins of a page are 12 mm or more
IN_WIDE_TABLE, IN_PORTRAIT_SECTION, LEADING = "¶", "§", "¤"  # markers that are added to texts before they are printed
# What introduces the text or figure below it, and so may not be the last on a page.
LEADING_TEXTS = "h2, h3, h3 + p, .kicker, .strip > p, thead tr:last-child > :last-child, tr > .block > span"

Box = tuple[float, float, float, float]  # left, bottom, right and top, in points from the page's lower left corner


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """A page of the PDF: where its lines of text and its images are, and where its markers are."""

    width: float
    height: float
    boxes: list[Box]
    markers: list[tuple[str, Box]]

    @property
    def is_landscape(self) -> bool:
        return self.width > self.height


def open_as_printed(browser: Browser, path: Path, font: str) -> Page:
    """Open a report laid out for paper, all its text in one font."""
    page = browser.new_page(viewport={"width": PORTRAIT, "height": 844})
    page.set_default_timeout(PAGE_TIMEOUT)
    page.goto(path.as_uri())
    if font != INSTALLED:
        data = base64.b64encode((Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf").read_bytes()).decode()
        face = f'@font-face {{ font-family: "Forced"; src: url("data:font/ttf;base64,{data}"); }}'
        page.add_style_tag(content=face + ' * { font-family: "Forced" !important; }')
        assert page.evaluate("document.fonts.load('12px Forced').then(fonts => fonts.length)") == 1
    page.emulate_media(media="print")
    return page


def add_marker(page: Page, selector: str, marker: str) -> None:
    """Append a marker to the text of elements."""
    page.locator(selector).evaluate_all("(all, marker) => all.forEach(element => element.append(marker))", marker)


def print_pages(page: Page) -> list[PrintedPage]:
    """Print to PDF and read it back."""
    document = pdfium.PdfDocument(page.pdf(prefer_css_page_size=True))
    return [read_page(document[index]) for index in range(len(document))]


def read_page(page: pdfium.PdfPage) -> PrintedPage:
    text_page = page.get_textpage()
    lines = [text_page.get_rect(index) for index in range(text_page.count_rects())]
    images = [image.get_bounds() for image in page.get_objects(filter=[pdfium.raw.FPDF_PAGEOBJ_IMAGE])]
    markers = [
        (character, text_page.get_charbox(index))
        for index, character in enumerate(text_page.get_text_range())
        if character in (IN_WIDE_TABLE, IN_PORTRAIT_SECTION, LEADING)
    ]
    width, height = page.get_size()
    return PrintedPage(width, height, [*lines, *images], markers)


@pytest.fixture(scope="module", params=[(name, font) for name in ("report", "full_report") for font in FONTS], ids=str)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    name, font = request.param
    page = open_as_printed(browser, request.getfixturevalue(name), font)
    yield page
    page.close()


@pytest.fixture(scope="module")
def printed_pages(page: Page) -> list[PrintedPage]:
    add_marker(page, "table.wide td", IN_WIDE_TABLE)
    add_marker(page, "section:not(.landscape) h2", IN_PORTRAIT_SECTION)
    return print_pages(page)


def test_no_element_is_wider_than_its_page(page: Page) -> None:
    for width, is_landscape in ((PORTRAIT, False), (LANDSCAPE, True)):
        page.set_viewport_size({"width": width, "height": 844})
        too_wide = page.evaluate(
            """isLandscape => [...document.querySelectorAll("body *:not(svg *, .visually-hidden)")].filter(element => {
                const box = element.getBoundingClientRect();
                return Boolean(element.closest(".landscape")) === isLandscape
                    && (box.right > innerWidth + 0.5 || box.left < -0.5);
            }).map(element => element.outerHTML.slice(0, 80))""",
            is_landscape,
        )
        assert too_wide == []


def test_no_panel_is_higher_than_its_page(page: Page) -> None:
    for width, selector in ((PORTRAIT, "section:not(.landscape) .panel"), (LANDSCAPE, ".landscape .panel")):
        page.set_viewport_size({"width": width, "height": 844})
        heights = page.locator(selector).evaluate_all("all => all.map(panel => panel.getBoundingClientRect().height)")
        assert max(heights) < HEIGHTS[width]


def test_all_texts_and_images_are_printed_inside_the_margins(printed_pages: list[PrintedPage]) -> None:
    for page in printed_pages:
        for left, bottom, right, top in page.boxes:
            assert min(left, bottom, page.width - right, page.height - top) > MARGIN


def test_wide_tables_are_on_landscape_pages_and_the_rest_is_on_portrait_pages(printed_pages: list[PrintedPage]) -> None:
    orientations: dict[str, set[bool]] = {IN_WIDE_TABLE: set(), IN_PORTRAIT_SECTION: set()}
    for page in printed_pages:
        for marker, _ in page.markers:
            orientations[marker].add(page.is_landscape)
    assert orientations == {IN_WIDE_TABLE: {True}, IN_PORTRAIT_SECTION: {False}}


def test_no_heading_is_the_last_text_on_a_page(browser: Browser, report: Path) -> None:
    page = open_as_printed(browser, report, INSTALLED)
    add_marker(page, LEADING_TEXTS, LEADING)
    # Copies of each section begin at several heights of a page, so that most headings come near the end of some page.
    page.evaluate(
        """() => {
            for (const section of document.querySelectorAll("section:not(.brief)")) {
                for (let height = 24; height < 270; height += 48) {
                    const copy = section.cloneNode(true);
                    const gap = document.createElement("div");
                    gap.style.height = height + "mm";
                    copy.prepend(gap);
                    copy.querySelectorAll("svg :is(path, use, circle)").forEach(shape => shape.remove());  // not texts
                    section.after(copy);
                }
            }
        }"""
    )
    for printed_page in print_pages(page):
        lowest = min((bottom for _, bottom, _, _ in printed_page.boxes), default=0)
        assert [box for marker, box in printed_page.markers if marker == LEADING and box[1] < lowest + 3] == []
    page.close()
