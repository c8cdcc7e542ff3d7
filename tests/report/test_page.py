"""The page: complete, self-contained, and safe against hostile files and texts."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from changeling.errors import ReportError
from changeling.report import write_report
from changeling.results.folder import load_results
from changeling.results.result import Picture, Result, Sheet, Strip

VOID = {"meta", "link", "img", "br", "circle", "rect", "path", "use", "image"}


class Outline(HTMLParser):
    """Collects elements, and checks that every element is closed."""

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


@pytest.fixture(scope="module")
def shown(report: Path) -> Outline:
    return outline(report)


@pytest.fixture(scope="module")
def shown_full(full_report: Path) -> Outline:
    return outline(full_report)


def note(result: Result, text: str) -> Result:
    return result.model_copy(update={"notes": (text,), "summary": text, "title": text})


def test_the_page_shows_every_number_with_its_interval_and_count(study: list[Result], shown: Outline) -> None:
    cell = study[0].tables[0].rows[0].cells["test_max"]
    ends = f"{100 * cell.value:.1f}{100 * cell.low:.1f}–{100 * cell.high:.1f}"
    for text in (ends, "26 clusters", "104 images", "Table 1 of the paper", "All estimates rest on only 26 clusters"):
        assert text in shown.text
    page = shown.text.replace("\N{NO-BREAK SPACE}", " ")
    for result in study:
        assert page.count(result.summary) >= 2
        assert all(text.replace("`", "") in page for text in result.notes)
    assert len(shown.all("table")) == 8 + 5 + 1


def test_the_page_links_to_other_reports_below_its_findings(study: list[Result], tmp_path: Path) -> None:
    page = outline(write_report(study[-1:], tmp_path / "index.html", {"Cats & dogs": "../cats/index.html"}))
    assert [link["href"] for link in page.all("a") if "cats" in (link["href"] or "")] == ["../cats/index.html"]
    assert page.text.index(study[-1].summary) < page.text.index("Cats & dogs") < page.text.index("Parents and children")


def test_the_methods_have_all_settings_versions_and_hashes(study: list[Result], shown: Outline) -> None:
    methods = shown.text[shown.text.index("Data, features and settings") :]
    for result in study:
        for text in (*result.settings, *result.dataset, *result.versions):
            assert text.removesuffix("s") in methods or text in ("name", "hash", "children")
        for source in result.sources:
            assert source.weights in methods
    assert "effective sample size" in methods


def test_pictures_have_their_verdicts_and_missing_ones_are_frames(study: list[Result], shown: Outline) -> None:
    sheets = [sheet for result in study for sheet in result.sheets]
    total = sum(len(strip.pictures) for sheet in sheets for strip in sheet.strips)
    images = shown.all("img")
    assert len(images) == total - 4
    assert all(str(image["src"]).startswith("data:image/webp;base64,") and image["alt"] for image in images)
    assert len([found for found in shown.all("div") if found.get("class") == "frame"]) == 4
    assert shown.text.count("no such file") == 4
    for verdict in ("real, 1.2 % fake", "fake, > 99.9 % fake", "unsure, 52.0 % fake"):
        assert verdict in shown.text


def test_the_page_is_self_contained(report: Path, shown: Outline) -> None:
    assert shown.all("script") == []
    for _, attributes in shown.elements:
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"data:|#", attributes.get(name) or "#")
    assert not re.search(r"url\((?!#)|@import", report.read_text(encoding="utf-8"))


def test_the_same_results_give_the_same_bytes(study: list[Result], report: Path, tmp_path: Path) -> None:
    assert write_report(study, tmp_path / "again.html").read_bytes() == report.read_bytes()


def test_tables_are_accessible(shown: Outline) -> None:
    assert shown.all("html") == [{"lang": "en"}]
    assert {th.get("scope") for th in shown.all("th")} == {"col", "colgroup", "row", "rowgroup"}
    ids = {found["id"] for _, found in shown.elements if "id" in found}
    assert {table["aria-labelledby"] for table in shown.all("table") if "aria-labelledby" in table} <= ids
    assert {str(link["href"])[1:] for link in shown.all("a")} <= ids


def test_no_two_elements_have_one_id(shown: Outline, shown_full: Outline) -> None:
    for page in (shown, shown_full):
        ids = [found["id"] for _, found in page.elements if "id" in found]
        assert len(ids) == len(set(ids))


def test_text_between_backticks_is_code(study: list[Result], tmp_path: Path) -> None:
    text = "Not run: run `changeling extract <x>` first."
    page = write_report([note(study[0], text)], tmp_path / "index.html").read_text(encoding="utf-8")
    # in the findings, the summary and the note
    assert page.count("run <code>changeling extract &lt;x&gt;</code> first.") == 3


def test_a_number_is_not_parted_from_its_sign_of_per_cent(study: list[Result], tmp_path: Path) -> None:
    result = study[0].model_copy(update={"summary": "An AUROC of 94.1 % here."})
    page = write_report([result], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "An AUROC of 94.1\N{NO-BREAK SPACE}% here." in page


def test_text_is_never_markup(study: list[Result], tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    picture = Picture(path=hostile, role="child", title=hostile)
    sheet = Sheet(
        key=hostile, title=hostile, strips=(Strip(title=hostile, caption=hostile, pictures=(picture,)),), note=hostile
    )
    dataset = {"name": hostile, "hash": hostile, hostile: 2}
    changes = {"sheets": (sheet,), "dataset": dataset, "settings": {hostile: hostile}, "versions": {hostile: hostile}}
    results = [note(study[0], hostile).model_copy(update=changes)]
    made = outline(write_report(results, tmp_path / "index.html"))
    assert made.all("script") == []
    assert made.all("img") == []
    assert made.text.count(hostile) >= 12


def test_text_that_is_not_utf8_is_escaped(study: list[Result], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    sheet = Sheet(key="s", title="S", strips=(Strip(title=name, pictures=(Picture(path=name, title=name),)),))
    results = [note(study[0], name).model_copy(update={"sheets": (sheet,)})]
    made = outline(write_report(results, tmp_path / "index.html"))
    assert r"caf\udce9.png" in made.text
    assert "no such file" in made.text


def test_a_page_without_results_is_a_page(tmp_path: Path) -> None:
    assert "Data, features and settings" in outline(write_report([], tmp_path / "index.html")).text


def test_a_page_that_cannot_be_written_does_not_replace_the_old_one(
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


def test_an_output_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "report").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_report([], tmp_path / "report" / "index.html")


def test_a_full_study_has_all_its_tables_plots_and_maps(full: list[Result], shown_full: Outline) -> None:
    assert len(shown_full.all("table")) == 8 + 5 + 1
    images = [str(found["aria-label"]) for _, found in shown_full.elements if found.get("role") == "img"]
    images = [name for name in images if ", continued, " not in name]
    tables = [made for one in full for made in one.tables]
    dots = sum(len({column.label for column in made.columns if not column.shaded}) for made in tables)
    lines, maps = sum(len(one.plots) for one in full), [drawn for one in full for drawn in one.maps]
    counted = [sum(name.startswith(kind) for name in images) for kind in ("Dot", "Line", "Map")]
    assert counted == [dots, lines, 3 * len(maps)]
    for text in (
        "Balanced accuracy over C",
        "400 parents, 2,000 children",
        "The axes of a map have no unit",
        *(plot.note for result in full for plot in result.plots),
    ):
        assert text in shown_full.text
    assert shown_full.text.count("▲ parent, ● child") == len(maps)


def test_the_papers_values_are_shown_with_ours(shown_full: Outline) -> None:
    text = re.sub(r"\s+", " ", shown_full.text)
    assert "paper 8.50 ✓, agrees" in text
    assert "✗, differs" in text
    assert text.count("Compared with the paper (") == 4
    assert "240 of the estimates are shown with the paper’s value" in text


def test_results_of_earlier_versions_are_shown(tmp_path: Path) -> None:
    cell = {"value": 0.62, "low": 0.6, "high": 0.64, "clusters": 5000, "images": 30000, "paper": 0.6296}
    columns = [
        {"key": key, "label": label, "group": group, "chance": None, "better": "none"}
        for key, label, group in (("test_s_overall", "Overall", "Test: S"), ("test_t_max", "Max distance", "Test: T"))
    ]
    labels = {"Generator": "stable-diffusion-v1.4", "Backbone": "rn50-imagenet"}
    rows = [{"labels": labels, "cells": {"test_s_overall": cell, "test_t_max": cell | {"paper": None}}}]
    table = {"key": "disentangle", "title": "S and T", "labels": list(labels), "columns": columns, "rows": rows}
    sheet = {"key": "s", "title": "S", "strips": [{"title": "c1", "pictures": [{"path": "x"}]}]}
    result: dict[str, object] = {
        "experiment": "disentangle",
        "title": "Q",
        "paper": "Table 4",
        "summary": "A.",
        "settings": {"C": 1.0},
    }
    result |= {"tables": [table], "sheets": [sheet]}
    (tmp_path / "disentangle.json").write_text(json.dumps(result))
    page = write_report(load_results(tmp_path), tmp_path / "index.html").read_text()
    assert "62.00" in page
    assert "agrees" in page


def test_contact_sheets_are_explained(shown: Outline) -> None:
    text = re.sub(r"\s+", " ", shown.text)
    assert "is the parent, a real image; the others are its children, which are generated." in text
    assert "In colour, the label that the classifier gave, correct or not: real, fake, unsure; then the" in text


def test_terms_are_explained(shown: Outline) -> None:
    start = shown.text[: shown.text.index("How to reproduce")]
    for text in (
        "A backbone is a neural network",
        "its feature",
        "A probe is a linear classifier",
        "S (semantics) is trained to keep",
    ):
        assert text in start


def test_a_table_of_many_rows_is_folded_and_has_no_dot_plots(full: list[Result], tmp_path: Path) -> None:
    result = full[0]
    table = result.tables[0]
    rows = tuple(
        row.model_copy(update={"labels": dict.fromkeys(table.labels, f"row {number}")})
        for number, row in enumerate((table.rows * 61)[:61])
    )
    for count, folded in ((60, 0), (61, 1)):
        made = result.model_copy(update={"tables": (table.model_copy(update={"rows": rows[:count]}),)})
        page = outline(write_report([made], tmp_path / "long.html"))
        assert len(page.all("details")) == folded
        assert any("Dot plot" in (panel.get("aria-label") or "") for panel in page.all("div")) == (not folded)
        assert "row 59" in page.text
