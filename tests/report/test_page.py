"""The page: everything in it, nothing outside it, nothing that a file or a caption could break."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from changeling.errors import ReportError
from changeling.experiments.result import Picture, Result, Sheet, Strip
from changeling.report import load_results, write_report
from tests.report import samples

VOID = {"meta", "link", "img", "br", "circle", "rect", "path", "use", "image"}


class Outline(HTMLParser):
    """Collects elements, and sees that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def outline(path: Path) -> Outline:
    made = Outline()
    made.feed(path.read_text(encoding="utf-8"))
    made.close()
    assert made.open == []
    return made


def note(result: Result, text: str) -> Result:
    return result.model_copy(update={"notes": (text,), "summary": text, "title": text})


def test_results_are_read_in_the_papers_order(study: list[Result], tmp_path: Path) -> None:
    names = ("probe", "zebra", "gallery", "distances", "embedding", "clusters", "disentangle", "retrieval")
    for name in names:
        study[0].model_copy(update={"experiment": name}).save(tmp_path / "results")
    (tmp_path / "results" / "notes.txt").touch()
    found = [result.experiment for result in load_results(tmp_path / "results")]
    assert found == [
        "distances", "probe", "retrieval", "disentangle", "embedding", "gallery", "clusters", "zebra",
    ]  # fmt: skip


def test_a_result_of_before_there_were_plots_and_maps_is_read(study: list[Result], tmp_path: Path) -> None:
    old = json.loads(study[0].save(tmp_path).read_text())
    for key in ("plots", "maps"):
        del old[key]
    for row in old["tables"][0]["rows"]:
        for cell in row["cells"].values():
            del cell["paper"]
    (tmp_path / "distances.json").write_text(json.dumps(old))
    assert load_results(tmp_path) == [study[0]]


def test_no_results_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no results here; run `changeling study` first"):
        load_results(tmp_path / "nowhere")


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text("{}")
    with pytest.raises(ReportError, match=r"probe\.json: not a Result"):
        load_results(tmp_path)


def test_the_page_shows_every_number_with_its_interval_and_count(
    study: list[Result], pictures: Path, tmp_path: Path
) -> None:
    page = outline(write_report(study, tmp_path / "report" / "index.html", root=pictures))
    for shown in ("42.80", "41.43–44.18", "99.64", "5,000 clusters", "30,000 images", "Table 1 of the paper"):
        assert shown in page.text
    for result in study:
        assert page.text.count(result.summary) == 2
        assert all(text in page.text for text in result.notes)
    assert "Numbers rest on as few as 6 clusters" in page.text
    assert len(page.all("table")) == 4
    assert len([tag for tag, found in page.elements if found.get("role") == "img"]) == 6


def test_the_page_says_what_its_numbers_rest_on(study: list[Result], pictures: Path, tmp_path: Path) -> None:
    page = outline(write_report(study, tmp_path / "index.html", root=pictures))
    basis = page.text[page.text.index("What the numbers rest on") :]
    for shown in ("COCOFake", "10,000", "20230400", "0.316228", "scikit-learn", "1.6.0", "clip-vit-b32", "cosine"):
        assert shown in basis
    assert "3f2c41d7a0…" in basis
    whole = study[0].sources[3].weights
    assert whole not in page.text
    assert whole in [code.get("title") for code in page.all("code")]


def test_pictures_are_shown_with_their_verdicts_and_missing_ones_as_frames(
    study: list[Result], pictures: Path, tmp_path: Path
) -> None:
    page = outline(write_report(study, tmp_path / "index.html", root=pictures))
    images = page.all("img")
    assert len(images) == 8 + 10
    assert all(str(image["src"]).startswith("data:image/webp;base64,") and image["alt"] for image in images)
    frames = [found for found in page.all("div") if found.get("class") == "frame"]
    assert len(frames) == 4
    assert page.text.count("no such file") == 4
    parents = [found for found in page.all("figure") if found.get("class") == "tile parent"]
    assert len(parents) == 2
    for verdict in ("real, 1.2 % fake", "fake, > 99.9 % fake", "unsure, 52.0 % fake"):
        assert verdict in page.text


def test_the_page_needs_nothing_else(study: list[Result], pictures: Path, tmp_path: Path) -> None:
    path = write_report(study, tmp_path / "index.html", root=pictures)
    page = outline(path)
    assert page.all("script") == []
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"data:|#", attributes.get(name) or "#")
    assert not re.search(r"url\((?!#)|@import", path.read_text(encoding="utf-8"))


def test_the_same_results_give_the_same_bytes(study: list[Result], pictures: Path, tmp_path: Path) -> None:
    first = write_report(study, tmp_path / "a.html", root=pictures).read_bytes()
    assert write_report(study, tmp_path / "b.html", root=pictures).read_bytes() == first


def test_tables_can_be_read_aloud(study: list[Result], pictures: Path, tmp_path: Path) -> None:
    page = outline(write_report(study, tmp_path / "index.html", root=pictures))
    assert page.all("html") == [{"lang": "en"}]
    assert {th.get("scope") for th in page.all("th")} == {"col", "colgroup", "row", "rowgroup"}
    ids = [
        found["id"] for _, found in page.elements if not re.match(r"[mp][0-9a-f]{10}", found.get("id") or "m0123456789")
    ]
    assert len(ids) == len(set(ids))
    assert {table["aria-labelledby"] for table in page.all("table") if "aria-labelledby" in table} <= set(ids)
    assert {str(link["href"])[1:] for link in page.all("a")} <= set(ids)


def test_text_is_never_markup(study: list[Result], tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    picture = Picture(path=evil, role="child", title=evil)
    sheet = Sheet(key=evil, title=evil, strips=(Strip(title=evil, caption=evil, pictures=(picture,)),), note=evil)
    changes = {"sheets": (sheet,), "dataset": {evil: evil}, "settings": {evil: evil}, "versions": {evil: evil}}
    results = [note(study[0], evil).model_copy(update=changes)]
    page = outline(write_report(results, tmp_path / "index.html", title=evil))
    assert page.all("script") == []
    assert page.all("img") == []
    assert page.text.count(evil) >= 12


def test_paths_and_text_that_are_not_utf8_are_spelled_out(study: list[Result], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    sheet = Sheet(key="s", title="S", strips=(Strip(title=name, pictures=(Picture(path=name, title=name),)),))
    results = [note(study[0], name).model_copy(update={"sheets": (sheet,)})]
    page = outline(write_report(results, tmp_path / "index.html", root=tmp_path))
    assert r"caf\udce9.png" in page.text
    assert "no such file" in page.text


def test_a_page_without_results_is_a_page(tmp_path: Path) -> None:
    assert "What the numbers rest on" in outline(write_report([], tmp_path / "index.html")).text


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    study: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report([], tmp_path / "index.html")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ReportError, match=r"index\.html: cannot be written: No space left on device"):
        write_report(study[:1], path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.glob("*.html*")] == ["index.html"]


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "report").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_report([], tmp_path / "report" / "index.html")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Outline:
    """The page of a study of the paper's size."""
    return outline(write_report(samples.full_study(400), tmp_path_factory.mktemp("full") / "index.html"))


def test_a_whole_study_has_all_its_tables_plots_and_maps(full: Outline) -> None:
    assert len(full.all("table")) == 4 + 1
    images = [str(found["aria-label"]) for _, found in full.elements if found.get("role") == "img"]
    assert [sum(name.startswith(kind) for name in images) for kind in ("Dot", "Line", "Map")] == [11, 36, 12]
    for shown in (
        "Balanced accuracy over C",
        "400 parents, 2,000 children",
        "Directions that S only shrinks",
        "Its axes have no unit and no meaning",
    ):
        assert shown in full.text
    assert full.text.count("▲ parent, ● child") == 4


def test_the_papers_values_stand_beside_ours(full: Outline) -> None:
    text = re.sub(r"\s+", " ", full.text)
    assert "paper 8.50 ✓, held" in text
    assert "✗, not held" in text
    assert text.count("intervals hold the paper’s value.") == 4
    assert text.count("◇") == 0  # drawn, so that no font has to have it
    assert text.count("the paper’s value") >= 8


def test_ids_of_drawings_do_not_clash(full: Outline) -> None:
    masks = [found["id"] for found in full.all("mask")]
    assert len(masks) == len(set(masks)) == 12


def test_what_the_contact_sheets_show_is_explained(study: list[Result], pictures: Path, tmp_path: Path) -> None:
    text = re.sub(r"\s+", " ", outline(write_report(study, tmp_path / "index.html", root=pictures)).text)
    assert "marks the parent, which is real; the others are children, which are generated." in text
    assert "In colour, what a picture is called, rightly or not: real, fake, unsure; beside it" in text
    assert text.count("marks the parent") == 1
