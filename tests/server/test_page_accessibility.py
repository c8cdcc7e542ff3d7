"""axe-core finds no violation on the page, empty and with everything that it can show, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.server.helpers import make_picture
from tests.server.page_helpers import WIDE, choose_files, make_folder, open_page, wait_for_cards

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(
    scheme: Literal["light", "dark"], browser: Browser, client: httpx.Client, tmp_path: Path
) -> None:
    with open_page(browser, str(client.base_url), WIDE) as page:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert Axe().run(page).response["violations"] == []
        page.set_input_files("#folder", make_folder(tmp_path / "mine"))
        wait_for_cards(page, 5)
        choose_files(page, {"broken.png": b"x", "white.png": make_picture(5)})
        wait_for_cards(page, 7)
        page.get_by_role("button", name="Show where the score comes from").first.click()
        expect(page.locator(".map")).to_have_count(1)
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        violations = Axe().run(page).response["violations"]
        assert [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations] == []
