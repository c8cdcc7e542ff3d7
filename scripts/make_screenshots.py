"""Write docs/images/page-light.webp and page-dark.webp: the service's page with the demo's pictures.

python scripts/make_screenshots.py

They hold pictures, so they are not committed. The script runs the bundled detector, and needs Chromium and the packages
of `.[serve,dev]`.
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

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SHOWN = ("cat.png", "rocket.jpg", "sdxl.webp")
TIMEOUT = 600_000  # milliseconds for all pictures


def main() -> None:
    """Take both screenshots."""
    expect.set_options(timeout=TIMEOUT)
    with tempfile.TemporaryDirectory() as name, run_service() as address, sync_playwright() as playwright:
        pictures = {path.name: path for path in fetch_samples(Path(name) / "pictures", silent)}
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = open_page(browser, address, width=1280, height=1010)
        page.set_input_files("#files", [pictures[shown] for shown in SHOWN])
        wait_until_done(page, len(SHOWN))
        save(page, "page-light.webp")
        page = open_page(browser, address, width=1280, height=1010, is_dark=True)
        page.set_input_files("#folder", Path(name) / "pictures")
        wait_until_done(page, len(pictures))
        expect(page.locator(".matrix")).to_be_visible()
        save(page, "page-dark.webp")
        browser.close()


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
    """Save what the window shows."""
    FOLDER.mkdir(exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(FOLDER / name, quality=80, method=6)


if __name__ == "__main__":
    main()
