"""Dot plots: what is drawn where, and that a figure can stand in a page."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from changeling.experiments.result import Column, Estimate, Result, Row, Table
from changeling.report.figures import Panel, draw, marks

SVG = "{http://www.w3.org/2000/svg}"


def number(value: float, half: float = 0.1) -> Estimate:
    return Estimate(value=value, low=max(0, value - half), high=min(1, value + half), clusters=12, images=72)


def table(names: list[str], *columns: Column, value: float = 0.5) -> Table:
    cells = {column.key: number(value) for column in columns}
    rows = tuple(Row(labels={"Generator": "SD", "Backbone": name}, cells=cells) for name in names)
    return Table(key="t", title="T", labels=("Generator", "Backbone"), columns=columns, rows=rows)


MIN = Column(key="tmin", label="Min", group="Test", chance=1 / 6)
VALIDATION = Column(key="vmin", label="Min", group="Validation", chance=1 / 6)
MAX = Column(key="tmax", label="Max", group="Test")


def parse(panel: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(panel.svg)  # noqa: S314  (we wrote it ourselves)


def texts(panel: Panel) -> list[str]:
    return ["".join(text.itertext()) for text in parse(panel).iter(f"{SVG}text")]


def dots(panel: Panel) -> list[tuple[float, str]]:
    """Where each marker stands, from the left, and what it is filled with."""
    uses = [use for use in parse(panel).iter(f"{SVG}use") if "fill: " in use.attrib["style"]]
    return [(float(use.attrib["x"]), use.attrib["style"].split("fill: ")[1].split(";")[0]) for use in uses]


def test_a_measure_is_a_panel_that_groups_share(study: list[Result]) -> None:
    assert [panel.title for panel in draw(study[0].tables[0])] == ["Min", "Max"]
    assert [panel.title for panel in draw(study[1].tables[0])] == ["Overall", "Full cluster"]


def test_all_rows_and_chance_are_named(study: list[Result]) -> None:
    words = " ".join(texts(draw(study[0].tables[0])[0])).replace("- ", "-")
    for name in ("Stable Diffusion v1.4", "Stable Diffusion v2.1", "clip-rn50", "openclip-vit-b32-laion400m"):
        assert name in words
    assert "chance 16.7 %" in words
    assert "chance" not in " ".join(texts(draw(study[1].tables[0])[1]))


def test_dots_stand_in_the_order_of_their_values_and_validation_is_hollow() -> None:
    made = table(["a"], VALIDATION, MIN)
    row = Row(labels=made.rows[0].labels, cells={"vmin": number(0.2), "tmin": number(0.8)})
    validation, test = dots(draw(made.model_copy(update={"rows": (row,)}))[0])
    assert validation[0] < test[0]
    assert "--paper" in validation[1]
    assert "--s0" in test[1]


def test_marks_pair_hollow_with_filled() -> None:
    columns = [Column(key=g, label="A", group=g) for g in ("x", "y", "z")]
    assert [(m.group, m.filled, m.shape) for m in marks(table(["a"], *columns))] == [
        ("x", True, "s"),
        ("y", False, "o"),
        ("z", True, "o"),
    ]


def test_a_backbone_keeps_its_colour_across_generators() -> None:
    one = table(["a", "b"], MIN)
    two = tuple(row.model_copy(update={"labels": {**row.labels, "Generator": "v2"}}) for row in one.rows)
    panel = draw(one.model_copy(update={"rows": one.rows + two}))[0]
    assert [re.findall(r"--s\d", fill) for _, fill in dots(panel)] == [["--s0"], ["--s1"], ["--s0"], ["--s1"]]


@pytest.mark.parametrize(("value", "half", "whole"), [(0.5, 0.5, True), (0.99, 0.005, False)])
def test_the_axis_is_whole_for_wide_intervals_and_zooms_in_on_narrow_ones(
    value: float, half: float, whole: bool
) -> None:
    made = table(["a"], MAX)
    row = Row(labels=made.rows[0].labels, cells={"tmax": number(value, half)})
    words = texts(draw(made.model_copy(update={"rows": (row,)}))[0])
    assert ("0 %" in words) is whole
    assert "100 %" in words


def test_missing_numbers_are_not_drawn() -> None:
    made = table(["a", "b"], MIN, MAX)
    odd = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), clusters=1, images=1)
    rows = (
        Row(labels=made.rows[0].labels, cells={"tmin": odd}),
        Row(labels=made.rows[1].labels, cells={"tmin": number(0.4)}),
    )
    panels = draw(made.model_copy(update={"rows": rows}))
    assert [panel.title for panel in panels] == ["Min"]
    assert len(dots(panels[0])) == 1
    assert draw(made.model_copy(update={"rows": ()})) == []


def test_the_same_table_gives_the_same_bytes_and_leaves_no_trace() -> None:
    made = table(["a", "b"], VALIDATION, MIN, MAX)
    before = dict(mpl.rcParams)
    assert draw(made) == draw(made)
    assert dict(mpl.rcParams) == before


def test_text_is_neither_markup_nor_formula_and_any_text_can_be_drawn() -> None:
    names = ["<script>alert(1)</script>", "$x_1$", "$", "日本語", "a\udcffb", "a\x00b\nc", "", "-->", "x" * 300]
    panel = draw(table(names, MIN))[0]
    assert "<script" not in panel.svg
    words = texts(panel)
    for shown in ("$x_1$", "日本語", r"a\udcffb", "a b c"):
        assert shown in words


def test_a_figure_has_nothing_that_leaks_into_its_page() -> None:
    panel = draw(table(["a"], MIN))[0]
    svg = panel.svg
    assert svg.startswith("<svg")
    assert "<style" not in svg
    assert "<metadata" not in svg
    root = parse(panel)
    used = set(re.findall(r"#([mp][0-9a-f]+)", svg))
    assert {element.attrib["id"] for element in root.iter() if "id" in element.attrib} == used
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert not re.search(r"(?:fill|stroke): #", svg)


def diamonds(panel: Panel) -> list[float]:
    """Where the open diamonds stand, from the left."""
    uses = parse(panel).iter(f"{SVG}use")
    return [float(use.attrib["x"]) for use in uses if "fill: " not in use.attrib["style"]]


def test_the_papers_value_is_an_open_diamond_and_the_axis_holds_it() -> None:
    made = table(["a"], MAX)
    row = Row(labels=made.rows[0].labels, cells={"tmax": number(0.5, 0.01).model_copy(update={"paper": 0.7})})
    panel = draw(made.model_copy(update={"rows": (row,)}))[0]
    (diamond,) = diamonds(panel)
    assert diamond > dots(panel)[0][0]
    assert "70 %" in texts(panel)
    assert diamonds(draw(made)[0]) == []


def test_estimates_of_a_row_do_not_lie_on_each_other() -> None:
    columns = [Column(key=g, label="R@1", group=g) for g in ("a", "b", "c", "d")]
    made = table(["x", "y"], *columns)
    heights = [float(use.attrib["y"]) for use in parse(draw(made)[0]).iter(f"{SVG}use")]
    assert all(later - former > 6 for former, later in pairwise(heights))


def test_a_chance_next_to_nothing_is_not_called_nothing() -> None:
    words = texts(draw(table(["a"], Column(key="a", label="R@1", chance=1 / 25000)))[0])
    assert "chance 0.004 %" in words
