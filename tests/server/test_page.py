"""The page of a real service in a real browser: how pictures get in, and what comes out."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Page, Route, expect

from changeling.detect.labelled import FOLDER_TRUTHS
from changeling.images.decode import SUFFIXES
from tests import helpers, hostile
from tests.server.helpers import make_picture, run_service
from tests.server.page_helpers import (
    PHONE,
    choose_files,
    count_overflow,
    drop_folder,
    make_folder,
    make_payload,
    open_page,
    read_headings,
    transfer_files,
    wait_for_cards,
)

pytestmark = pytest.mark.browser

GENERATED, REAL = "Looks generated", "Looks real"


@pytest.fixture
def page(browser: Browser, client: httpx.Client) -> Iterator[Page]:
    with open_page(browser, str(client.base_url)) as opened:
        yield opened


def download(page: Page, button: str) -> Path:
    with page.expect_download() as info:
        page.get_by_role("button", name=button).first.click()
    return Path(info.value.path())


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_files_are_dropped_or_pasted(kind: str, page: Page) -> None:
    transfer_files(page, kind, {"a.png": make_picture(1, fake=True), "b.png": make_picture(2)})
    wait_for_cards(page, 2)
    assert sorted(read_headings(page)) == [GENERATED, REAL]
    assert page.get_by_text("Pasted pictures are copies").count() == (2 if kind == "paste" else 0)


def test_a_dropped_folder_is_read_with_all_below_it(page: Page, tmp_path: Path) -> None:
    drop_folder(page, make_folder(tmp_path / "mine"))
    wait_for_cards(page, 5)
    assert "1 file was left out" in page.locator("#status").inner_text()
    names = page.locator(".file-name").all_inner_texts()
    assert sorted(names) == [*(f"mine/fake/{n}.png" for n in range(2)), *(f"mine/real/{n}.png" for n in range(3))]


def test_two_hundred_files_are_judged_by_their_original_bytes(page: Page) -> None:
    files = {f"{number:03d}.png": make_picture(number, fake=number % 2 == 0) for number in range(200)}
    choose_files(page, files)
    expect(page.locator("#progress-text")).to_contain_text("left")
    wait_for_cards(page, 200)
    rows = json.loads(download(page, "Download JSON").read_text())
    assert {row["path"]: row["sha256"] for row in rows} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    page.get_by_label("Sort by").select_option("highest")
    assert read_headings(page)[0] == GENERATED
    page.get_by_role("button", name="Real 100").click()
    assert read_headings(page) == [REAL] * 100


def test_hostile_files_do_no_harm_to_good_ones(page: Page, tmp_path: Path) -> None:
    name = '"><img src=x onerror=problems.push(1)>‮gnp.exe.png'
    bad = {
        "=cmd.png": b"not a picture",
        "cut.png": make_picture(0)[:200],
        "bomb.png": hostile.png(60_000, 60_000, 8, 2, b""),
    }
    choose_files(page, {name: make_picture(3, fake=True), **bad, "good.png": make_picture(4)})
    wait_for_cards(page, 5)
    assert sorted(read_headings(page)) == ["Could not be judged"] * 3 + [GENERATED, REAL]
    assert page.locator(".file-name", has_text="onerror").inner_text() == name
    assert page.locator("img[src=x]").count() == 0
    downloaded = download(page, "Download CSV")
    assert downloaded.read_bytes().startswith(b"\xef\xbb\xbfpath,")  # so that Excel reads it as UTF-8
    with downloaded.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [name, "'=cmd.png", "bomb.png", "cut.png", "good.png"]


def test_a_service_that_dies_and_comes_back_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with run_service(tmp_path) as (client, _):
            page = stack.enter_context(open_page(browser, str(client.base_url)))
        choose_files(page, {"a.png": make_picture(1), "b.png": make_picture(2, fake=True)})
        expect(page.locator("#status")).to_contain_text("The service does not answer")
        with run_service(tmp_path, port=client.base_url.port or 0):
            wait_for_cards(page, 2)
        expect(page.locator("#status")).to_be_empty()


def test_a_busy_service_is_asked_again_and_a_key_is_asked_for(page: Page) -> None:
    refusals: list[tuple[int, dict[str, str]]] = [(429, {"Retry-After": "1"}), (401, {})]
    seen: list[str | None] = []

    def refuse_at_first(route: Route) -> None:
        seen.append(route.request.headers.get("authorization"))
        if refusals:
            status, headers = refusals.pop(0)
            route.fulfill(status=status, headers=headers, json={"error": {"code": "no", "message": "No."}})
        else:
            route.continue_()

    page.route("**/v1/detect*", refuse_at_first)
    choose_files(page, {"a.png": make_picture(1)})
    expect(page.locator("#status")).to_contain_text("Trying again in 1 s")
    page.get_by_label("This service needs an API key").fill("secret")
    page.keyboard.press("Enter")
    wait_for_cards(page, 1)
    assert seen == [None, None, "Bearer secret"]


def test_cancelling_leaves_what_is_judged(page: Page) -> None:
    page.route("**/v1/detect*", lambda _: None)
    choose_files(page, {f"{number}.png": make_picture(number) for number in range(5)})
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled: 5 pictures were not judged.")
    page.unroute("**/v1/detect*")
    choose_files(page, {"again.png": make_picture(1)})
    wait_for_cards(page, 1)


def test_labelled_folders_are_evaluated(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#folder", make_folder(tmp_path / "mine"))
    wait_for_cards(page, 5)
    cells = page.locator(".matrix td")
    expect(cells).to_have_text(["2", "1", "0", "0", "0", "2", "0", "0"])
    expect(page.locator(".rates")).to_contain_text("33.3 % (1 of 3; 95 % interval")
    assert page.locator(".roc svg").get_attribute("aria-label") == (
        "ROC curve: at the threshold of generated, 100 % of the generated pictures are found and 33.3 % of the real "
        "ones are called generated."
    )
    page.get_by_role("button", name="Generated 3").click()
    page.locator(".mistakes button").click()
    expect(page.locator(".card:focus .tag.wrong")).to_have_text("Contradicts your folder")
    expect(page.locator(".card:visible")).to_have_count(5)


def test_a_map_is_drawn_on_demand_and_hidden_again(page: Page) -> None:
    page.get_by_label("Check re-saved copies, too").check()
    choose_files(page, {"a.png": make_picture(1)})
    wait_for_cards(page, 1)
    expect(page.locator(".range line")).to_have_count(3)
    page.get_by_role("button", name="Show where the score comes from").click()
    expect(page.locator(".map rect")).to_have_count(16)
    expect(page.locator(".explanation")).to_contain_text("log-odds")
    page.get_by_role("button", name="Hide the map").click()
    expect(page.locator(".map")).to_have_count(0)


def test_a_map_has_its_strongest_colour_in_the_cell_with_most_beyond_noise(page: Page) -> None:
    contributions = [(9.0, 10.0), (0.5, 0.1), (-0.25, 0.1)] + 13 * [(0.1, 1.0)]

    def change_cells(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for cell, (contribution, margin) in zip(body["result"]["cells"], contributions, strict=True):
            cell |= {"contribution": contribution, "margin": margin}
        route.fulfill(response=answer, json=body)

    page.route("**/v1/explain", change_cells)
    choose_files(page, {"a.png": make_picture(1)})
    wait_for_cards(page, 1)
    page.get_by_role("button", name="Show where the score comes from").click()
    expect(page.locator(".map rect")).to_have_count(16)
    opacities = page.locator(".map rect").evaluate_all(
        "all => all.map(cell => Number(cell.getAttribute('fill-opacity')))"
    )
    assert opacities == [0, 0.7, 0.35, *13 * [0]]
    expect(page.locator(".map rect").nth(2)).to_have_class("toward-real")


def test_a_page_that_waits_for_a_map_counts_seconds_and_can_cancel(page: Page) -> None:
    page.route("**/v1/explain", lambda _: None)  # a request that is never answered
    choose_files(page, {"a.png": make_picture(1)})
    wait_for_cards(page, 1)
    card = page.locator(".card")
    card.get_by_role("button", name="Show where the score comes from").click()
    expect(card.locator(".picture")).to_have_attribute("aria-busy", "true")
    expect(card.get_by_role("timer")).to_have_text(re.compile(r"^[1-9]\d* s so far"))
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".explanation")).to_have_text("Cancelled: no map was made.")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.unroute("**/v1/explain")
    card.get_by_role("button", name="Show where the score comes from").click()
    expect(page.locator(".map rect")).to_have_count(16)


def test_a_file_that_says_that_it_is_generated_says_so_beside_the_verdict(page: Page) -> None:
    parameters = PngInfo()
    parameters.add_text("parameters", "a lighthouse\nSteps: 20, Sampler: Euler, Seed: 1, Size: 512x512, Model: sd15")
    choose_files(page, {"a.png": hostile.saved(helpers.natural(1), "PNG", pnginfo=parameters)})
    wait_for_cards(page, 1)
    assert read_headings(page) == [REAL]
    expect(page.locator(".tag")).to_have_text("The file says: generated")
    expect(page.locator(".evidence dd", has_text="a lighthouse")).to_be_visible()


def test_a_report_has_the_hash_and_no_name(page: Page) -> None:
    data = make_picture(1)
    choose_files(page, {"secret-source.png": data})
    wait_for_cards(page, 1)
    text = download(page, "Report this verdict").read_text()
    report = json.loads(text)
    assert report["verdict"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert report["model"]["thresholds"] == {"real": 0.4, "fake": 0.6}
    assert "secret-source" not in text


def test_everything_works_by_keyboard(page: Page) -> None:
    page.on("filechooser", lambda _: None)  # from now on no chooser opens on the screen
    page.keyboard.press("Tab")
    expect(page.locator("#choose-files")).to_be_focused()
    with page.expect_file_chooser() as info:
        page.keyboard.press("Enter")
    info.value.set_files([make_payload("a.png", make_picture(1))])
    wait_for_cards(page, 1)
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "({text: document.activeElement.innerText, outline: getComputedStyle(document.activeElement).outlineStyle})"
        )
        reached.add(" ".join(focused["text"].split()))
        assert focused["outline"] == "solid" or not focused["text"] or focused["text"].startswith("changeling")
    for name in ("Choose a folder", "Real 1", "Download CSV", "Copy text", "What this does not prove"):
        assert name in reached
    page.get_by_role("button", name="Errors 0").focus()
    page.keyboard.press("Space")
    expect(page.locator("#nothing")).to_be_visible()


def test_nothing_overflows_a_phone(browser: Browser, client: httpx.Client, tmp_path: Path) -> None:
    with open_page(browser, str(client.base_url), PHONE) as page:
        assert count_overflow(page) == 0
        page.set_input_files("#folder", make_folder(tmp_path / ("long-name" * 20), real=1, fake=1))
        wait_for_cards(page, 2)
        expect(page.locator(".matrix")).to_be_visible()
        assert count_overflow(page) == 0


def test_the_page_knows_the_same_folders_and_suffixes(page: Page) -> None:
    script = "async (path) => { const files = await import('/static/files.js'); return %s; }"
    for name, truth in FOLDER_TRUTHS.items():
        assert page.evaluate(script % "files.findTruth(path)", f"x/{name.upper()}/deep/a.png") == truth
    assert page.evaluate(script % "files.findTruth(path)", "unreal/constructor/real") is None
    for suffix in SUFFIXES:
        assert page.evaluate(script % "files.isPicture(path)", f"a{suffix}"), suffix
    assert not page.evaluate(script % "files.isPicture(path)", "._a.png")
