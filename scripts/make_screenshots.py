"""Write docs/service.png, and docs/images/page-light.webp and page-dark.webp: the service's page with pictures.

python -m scripts.make_screenshots

docs/service.png shows pictures that scripts/draw_pictures.py computes. The others show those of the demo, which belong
to their makers, so they are not committed. The script runs the bundled detector, and needs Chromium and the packages of
`.[serve,dev]`.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from changeling.demo.samples import fetch_samples
from changeling.detect.detector import Detector
from changeling.progress import silent
from changeling.server.app import create_app
from changeling.server.run import listen, make_server
from scripts.draw_pictures import draw_pictures

DOCS = Path(__file__).parents[1] / "docs"
SHOWN = ("cat.png", "rocket.jpg", "sdxl.webp")
TIMEOUT = 600_000  # milliseconds for all pictures


def main() -> None:
    """Take all screenshots."""
    expect.set_options(timeout=TIMEOUT)
    with tempfile.TemporaryDirectory() as name, run_service() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-headless-shell"), args=["--no-sandbox"]
        )
        show_drawn_pictures(browser, address, Path(name) / "drawn")
        show_samples(browser, address, Path(name) / "pictures")
        browser.close()


def show_drawn_pictures(browser: Browser, address: str, folder: Path) -> None:
    """Write docs/service.png: the page with pictures that belong to nobody."""
    paths = draw_pictures(folder)
    page = open_page(browser, address, width=1280, height=1010)
    page.set_input_files("#files", paths)
    wait_until_done(page, len(paths))
    page.locator(".card details[open] > summary").click()
    bottom = max(box["y"] + box["height"] for card in page.locator(".card").all() if (box := card.bounding_box()))
    page.set_viewport_size({"width": 1280, "height": round(bottom) + 24})
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(DOCS / "service.png", optimize=True)


def show_samples(browser: Browser, address: str, folder: Path) -> None:
    """Write docs/images/page-light.webp and page-dark.webp: three pictures of the demo, and all as labelled folders."""
    pictures = {path.name: path for path in fetch_samples(folder, silent)}
    page = open_page(browser, address, width=1280, height=1010)
    page.set_input_files("#files", [pictures[shown] for shown in SHOWN])
    wait_until_done(page, len(SHOWN))
    save(page, "page-light.webp")
    page = open_page(browser, address, width=1280, height=1010, is_dark=True)
    page.set_input_files("#folder", folder)
    wait_until_done(page, len(pictures))
    expect(page.locator(".matrix")).to_be_visible()
    save(page, "page-dark.webp")


@contextmanager
def run_service() -> Iterator[str]:
    """Yield the address of a service with the bundled detector."""
    server = make_server(create_app(Detector.load()))
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def open_page(browser: Browser, address: str, *, width: int, height: int, is_dark: bool = False) -> Page:
    """Open the page in a window of a size."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if is_dark else "light",
        reduced_motion="reduce",
    )
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    return page


def wait_until_done(page: Page, pictures: int) -> None:
    """Wait until so many pictures are judged and shown."""
    expect(page.locator(".card")).to_have_count(pictures)
    expect(page.locator("#progress")).to_be_hidden()
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")


def save(page: Page, name: str) -> None:
    """Save what the window shows in docs/images."""
    folder = DOCS / "images"
    folder.mkdir(exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(folder / name, quality=80, method=6)


if __name__ == "__main__":
    main()
