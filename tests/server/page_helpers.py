"""The service's page in Chromium, watched for outside requests and for violations of its content security policy."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, FilePayload, Page, Request, ViewportSize, expect

from tests.server.helpers import make_picture

Files = dict[str, bytes]

LONG = 240_000  # milliseconds to wait for what comes in seconds on an idle machine
WIDE, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)
_WATCH = """
window.problems = [];
addEventListener("securitypolicyviolation", (event) => problems.push(`${event.violatedDirective} ${event.blockedURI}`));
addEventListener("error", (event) => problems.push(`error: ${event.message}`));
addEventListener("unhandledrejection", (event) => problems.push(`rejected: ${event.reason}`));
"""
# a transfer of files with these names and contents, as the browser makes it for what is dropped or pasted
_TRANSFER = """
(files) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {type: "image/png"}));
  }
  return transfer;
}
"""


@contextmanager
def open_page(browser: Browser, address: str, viewport: ViewportSize = WIDE) -> Iterator[Page]:
    """Yield the page; fail at the end if it asked another host for anything, or broke a policy."""
    page = browser.new_page(viewport=viewport)
    page.set_default_timeout(LONG)
    expect.set_options(timeout=LONG)
    outside: list[str] = []

    def note_outside(request: Request) -> None:
        if not request.url.startswith((address, f"blob:{address}", "data:")):
            outside.append(request.url)

    page.on("request", note_outside)
    page.add_init_script(_WATCH)
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("Detector tiny")
    yield page
    problems = page.evaluate("window.problems")
    page.close()
    assert outside == []
    assert problems == []


def make_folder(folder: Path, real: int = 3, fake: int = 2) -> Path:
    """Write pictures to `folder`/real and `folder`/fake, the first fake one among the real ones; return the folder."""
    for name, count in (("real", real), ("fake", fake)):
        (folder / name).mkdir(parents=True)
        for seed in range(count):
            is_fake = name == "fake" or seed == 0
            (folder / name / f"{seed}.png").write_bytes(make_picture(seed, fake=is_fake))
    (folder / "real" / "notes.txt").write_text("not a picture")
    return folder


def choose_files(page: Page, files: Files) -> None:
    """Choose files by the button."""
    page.set_input_files("#files", [make_payload(name, data) for name, data in files.items()])


def make_payload(name: str, data: bytes) -> FilePayload:
    """Return a file for an input or a chooser."""
    return FilePayload(name=name, mimeType="", buffer=data)


def transfer_files(page: Page, kind: str, files: Files) -> None:
    """Drop or paste files; `kind` is the name of the event."""
    contents = [(name, base64.b64encode(data).decode()) for name, data in files.items()]
    transfer = page.evaluate_handle(_TRANSFER, contents)
    options = (
        "{clipboardData: transfer, bubbles: true}" if kind == "paste" else "{dataTransfer: transfer, bubbles: true}"
    )
    event = "ClipboardEvent" if kind == "paste" else "DragEvent"
    page.evaluate(f"(transfer) => document.body.dispatchEvent(new {event}({kind!r}, {options}))", transfer)


def drop_folder(page: Page, folder: Path) -> None:
    """Drop a folder from outside, as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})


def wait_for_cards(page: Page, count: int) -> None:
    """Wait until so many pictures are judged."""
    expect(page.locator(".card")).to_have_count(count)
    expect(page.locator("#progress")).to_be_hidden()


def read_headings(page: Page) -> list[str]:
    """Return the verdicts of the cards that are shown, in their order."""
    return page.locator(".card:visible h3").all_inner_texts()


def count_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return int(width)
