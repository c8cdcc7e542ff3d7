"""The page of a build: what is there so far, under hostile names too, and in a browser."""

from __future__ import annotations

import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser

from changeling.build import page
from changeling.build.job import Build
from changeling.build.page import BuildPage
from changeling.build.parts import PARENTS, BuildPartFormat
from changeling.build.runner import run_build
from changeling.build.write import write_parents
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.progress import silent
from tests import helpers
from tests.build.builds import CAPTIONS, drawing, make_build
from tests.build.test_counts import reading
from tests.helpers import PAGE_TIMEOUT

HOSTILE = '"><script>alert(1)</script> & <img src=x onerror=alert(2)> {{ 7 * 7 }}'


class PageReader(HTMLParser):
    """The words and links of a page, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.alternatives: list[str] = []
        self.words: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        self.links += [link for link in (given.get("src"), given.get("href")) if link]
        if tag == "img":
            self.alternatives.append(given.get("alt") or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(build: Build) -> PageReader:
    return PageReader(BuildPage(build).write().read_text())


def test_the_page_shows_all_clusters_with_their_captions_and_counts(whole: Build, copy: Build) -> None:
    shown = read(copy)
    assert shown.tags.count("article") == 7
    captions = whole.parents.captions["caption"].to_pylist()
    assert all(shown.text.count(caption) == 2 for caption in captions)  # of two generators
    for name in Dataset(whole.output).column("image_id")[:7]:
        assert f"parent · {name} · " in shown.text
    assert "parents 7 7 7 3 2 2 0 0 0" in shown.text
    assert "strict 21 21 21 0 0 0 0 21 0" in shown.text
    assert "The build is finished." in shown.text
    assert "were left out" not in shown.text
    assert "refresh" not in BuildPage(copy).write().read_text()


def test_every_picture_and_link_is_a_file(copy: Build) -> None:
    links = read(copy).links
    good = [path for path in Dataset(copy.output).column("path") if path]
    assert links == [link for link in links if (copy.output / "build" / unquote(link)).is_file()]
    assert {(copy.output / "build" / unquote(link)).resolve() for link in links} == {
        (copy.output / path).resolve() for path in good
    }


def test_flagged_children_are_described_instead_of_shown(copy: Build) -> None:
    shown = read(copy)
    for caption in copy.parents.captions["caption"].to_pylist():
        assert f"flagged {caption} the safety checker flagged it once" in shown.text
    assert not any("strict" in link for link in shown.links)


def test_a_page_can_be_moved_with_its_dataset(copy: Build, tmp_path: Path) -> None:
    BuildPage(copy).write()
    shutil.move(copy.output, tmp_path / "moved")
    links = PageReader((tmp_path / "moved" / "build" / "index.html").read_text()).links
    assert links
    assert all((tmp_path / "moved" / "build" / unquote(link)).is_file() for link in links)


def test_the_page_of_an_unfinished_build_reloads_and_shows_what_is_written(copy: Build) -> None:
    for index in (0, 1, 2, 3, 4):
        copy.parts("picky").path(index).unlink()
        copy.parts("strict").path(index).unlink()
    for path in (copy.output / "build").glob("tiny_vae*"):
        shutil.rmtree(path)
    shown = read(copy)
    assert "The build is not finished" in shown.text
    assert 'http-equiv="refresh"' in BuildPage(copy).write().read_text()
    assert shown.tags.count("article") == 1  # of the last cluster, whose last caption is done
    assert f"said {CAPTIONS - 1}" in shown.text
    assert "said 0" not in shown.text


def test_captions_stand_under_the_child_that_was_made_from_them(copy: Build) -> None:
    copy.parts("picky").path(0).unlink()
    shown = read(replace(copy, generators={"picky": copy.generators["picky"]}))
    rows = [row for row in Dataset(copy.output).images.to_pylist() if row["generator"] == "picky"][4:]
    captions = {(row["cluster_id"], row["caption_index"]): row["caption"] for row in copy.parents.captions.to_pylist()}
    expected = [captions[row["cluster_id"], row["caption_index"]] for row in rows if row["status"] == "ok"]
    assert [alternative for alternative in shown.alternatives if alternative != "parent"] == expected


def test_before_the_first_child_parents_are_shown(parents: Dataset, models: Path, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"sd": drawing("sd")})
    assert read(build).tags.count("article") == 0
    write_parents(build, build.parts(PARENTS).indices)
    assert read(build).tags.count("article") == 6


def test_the_number_of_clusters_on_a_page_is_limited(copy: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SHOWN_CLUSTERS", 3)
    assert read(copy).tags.count("article") == 3


@pytest.fixture(scope="module")
def hostile(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build all of whose names and captions are markup; one parent is left out."""
    folder = tmp_path_factory.mktemp("hostile")
    for number in range(3):
        helpers.natural(number, 40 + 300 * number).crop((0, 0, 40 + 300 * number, 40)).save(folder / f"{number}.jpg")
    rows = [ImageRow(f"{n} {HOSTILE}", f"{n} {HOSTILE}", "parent", str(folder / f"{n}.jpg"), "test") for n in range(3)]
    captions = [CaptionRow(row.cluster_id, index, f"{HOSTILE} {'w' * 200}") for row in rows[:2] for index in range(2)]
    dataset = write_dataset(folder / HOSTILE.replace("/", ""), rows, captions)
    build = make_build(dataset, folder / "out" / HOSTILE.replace("/", ""), models, {HOSTILE: drawing("picky")})
    assert run_build(build)
    return build


def test_names_and_captions_are_escaped(hostile: Build) -> None:
    shown = read(hostile)
    assert set(shown.tags) <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "div", "table", "thead"} | {
        *("tr", "th", "tbody", "td", "progress", "article", "figure", "a", "img", "figcaption", "b", "h2", "span")
    }
    assert not {name for name in shown.attributes if name.startswith("on")}
    words = " ".join(HOSTILE.split())
    assert shown.text.count(words) >= 2 + 4 + 1  # parents, captions, the generator
    assert any(HOSTILE in alternative for alternative in shown.alternatives)
    assert "1 parents were left out" in shown.text
    assert all((hostile.output / "build" / unquote(link)).is_file() for link in shown.links)


@pytest.mark.browser
@pytest.mark.parametrize(("name", "width"), [("whole", 390), ("whole", 1280), ("hostile", 390)])
def test_in_a_browser_images_load_and_nothing_overflows(
    name: str, width: int, browser: Browser, request: pytest.FixtureRequest
) -> None:
    build: Build = request.getfixturevalue(name)
    opened = browser.new_page(viewport={"width": width, "height": 844})
    opened.set_default_timeout(PAGE_TIMEOUT)
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("dialog", lambda dialog: messages.append(dialog.message))
    written = BuildPage(build).write()
    eager = written.with_name("eager.html")  # all images at once, not as they are scrolled to
    eager.write_text(written.read_text(encoding="utf-8").replace('loading="lazy"', ""), encoding="utf-8")
    opened.goto(eager.as_uri(), wait_until="load")
    assert opened.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    sides = "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.width])"
    for left, right, wide in opened.locator("h1, h2, p, figure, figcaption, img, .scroll, article").evaluate_all(sides):
        assert -0.5 <= left <= right <= width + 0.5
        assert wide > 40
    assert messages == []
    opened.close()


def test_a_page_that_is_written_again_reads_only_new_parts_and_those_it_shows(
    copy: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SHOWN_CLUSTERS", 1)
    monkeypatch.setattr(page, "_MIN_INTERVAL", 0.0)
    monkeypatch.setattr(page, "_MAX_SHARE", float("inf"))
    shutil.copy(copy.parts("picky").path(5), copy.output / "part")
    copy.parts("picky").remove(5)
    build_page = BuildPage(copy)
    report = build_page.refresh_with(silent)
    read: list[str] = []
    monkeypatch.setattr(BuildPartFormat, "read", reading(read))
    report("picky", 0, 21)
    counted = {"/".join(path.parts[-2:]) for path in copy.paths if path.exists()}
    assert set(read) == counted
    shown = {name for name in counted if name.endswith(("part-00000.parquet", "part-00001.parquet"))}
    read.clear()
    report("picky", 1, 21)
    assert set(read) <= shown
    shutil.move(copy.output / "part", copy.parts("picky").path(5))
    read.clear()
    report("picky", 2, 21)
    assert read.count("picky/part-00005.parquet") == 1
    assert set(read) <= {*shown, "picky/part-00005.parquet"}
    assert "picky 21 21" in PageReader((copy.output / "build" / "index.html").read_text()).text
