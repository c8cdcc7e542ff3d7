"""The documentation as a site: it builds without a warning, and its pages work in a browser without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import changeling
from tests.helpers import PAGE_TIMEOUT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_pages_from_elsewhere_are_part_of_the_site(site: Path) -> None:
    assert "Semantic Versioning" in (site / "changelog.html").read_text(encoding="utf-8")
    assert "Error rates of the labels" in (site / "model-card.html").read_text(encoding="utf-8")
    assert 'href="model-card.html"' in (site / "explanation.html").read_text(encoding="utf-8")
    assert 'href="architecture.html#glossary"' in (site / "contributing.html").read_text(encoding="utf-8")


def test_reference_describes_every_public_name(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    missing = [name for name in changeling.__all__ if f'id="changeling.{name}"' not in page]
    assert missing == ["__version__"]
    assert "<!-- reference -->" not in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["index.html", "tutorials/newsroom.html", "api.html"])
def test_pages_need_no_network_and_do_not_scroll_sideways(browser: Browser, site: Path, name: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_default_timeout(PAGE_TIMEOUT)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto((site / name).as_uri(), wait_until="networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").first.is_visible()
    page.close()
    outside = [url for url in requests if not url.startswith((site.as_uri(), "data:", "blob:"))]
    assert outside == []
    assert messages == []
