"""Dot plots: what is drawn where, and that figures are safe to include in a page."""

from __future__ import annotations

import re
from itertools import pairwise

import matplotlib as mpl
import pytest

from changeling.report.figures.columns import choose_markers
from changeling.report.figures.dot_plots import draw_dot_plots
from changeling.report.figures.style import FONT_SIZE, Panel, wrap_text
from changeling.results.format import P_VALUE_LABEL
from changeling.results.result import Column, Estimate, Result, Table
from tests.report.samples import LABELS, SVG, number, parse, table, texts


def make_table(names: list[str], *columns: Column, cell: Estimate | None = None) -> Table:
    """A table with a row for each backbone, and the same estimate in all columns."""
    cells = {column.key: cell or number() for column in columns}
    return table([(("SD", name), cells) for name in names], LABELS, *columns)


MIN = Column(key="tmin", label="Min", group="Test", chance=1 / 6)
MAX_HEIGHT = 700  # points of a drawing that is printed as wide as a third of a landscape page
VALIDATION = Column(key="vmin", label="Min", group="Validation", chance=1 / 6)
MAX = Column(key="tmax", label="Max", group="Test")


def find_dots(panel: Panel) -> list[tuple[float, str]]:
    """The x position and the fill of each filled marker."""
    uses = [use for use in parse(panel.svg).iter(f"{SVG}use") if "fill: " in use.attrib["style"]]
    return [(float(use.attrib["x"]), use.attrib["style"].split("fill: ")[1].split(";")[0]) for use in uses]


def test_groups_share_a_panel_for_each_measure(studied: list[Result]) -> None:
    panels = {made.key: [panel.title for panel in draw_dot_plots(made)] for one in studied for made in one.tables}
    assert panels == {
        "distances": ["Min distance", "Max distance"],
        "probe": ["Overall", "Full cluster", "Balanced", "AUROC"],
        "transfer": ["Overall", "Full cluster", "Balanced", "AUROC"],
        "probe-differences": ["AUROC", "Balanced"],
        "retrieval": ["R@1", "R@3", "R@5"],
        "disentangle": ["Overall", "Full cluster", "Min distance", "Max distance"],
        "hidden": ["C = 0.01", "C = 1", "C = 1e6", "non-linear"],
        "confounds": ["AUROC", "AUROC, continued"],
        "crossgen": [
            "Trained on it",
            "Trained on another",
            "Trained on all others",
            "Lost with another",
            "Lost with all others",
        ],
        "crossgen-auroc": [],
        "crossgen-balanced": [],
        "crossgen-left-out": ["AUROC", "Balanced", "Lost AUROC"],
        "crossgen-differences": ["Difference of AUROC"],
    }


def test_rows_and_chance_are_labelled(full: list[Result]) -> None:
    words = [" ".join(texts(panel.svg)).replace("- ", "-") for panel in draw_dot_plots(full[1].tables[0])]
    for name in ("stable-diffusion-v1.4", "stable-diffusion-v2.1", "clip-rn50", "openclip-vit-b32-laion400m"):
        assert name in words[0]
    assert "chance 50.0 %" in words[2]
    assert "chance" not in words[0]


def test_the_row_of_all_generators_has_its_full_label(studied: list[Result]) -> None:
    by_generator = [made for made in studied[1].tables if "Generator" in made.labels]
    assert len(by_generator) == 2
    for made in by_generator:
        words = texts(draw_dot_plots(made)[0].svg)
        assert any(word.endswith("all generators") for word in words)
        assert "all" not in words


@pytest.mark.parametrize(
    ("chances", "text"),
    [
        ((0.1, 0.1, 0.1, 0.1), "chance 10.0 %"),
        ((0.1, 0.1, 0.2, 0.2), "chance: Validation 10.0 % (dashed), Test 20.0 % (dotted)"),
        ((0.1, 0.2, 0.1, 0.2), "chance: exact pair 10.0 % (dashed), intra-cluster 20.0 % (dotted)"),
        ((0.1, 0.2, 0.3, 0.4), "chance 10.0 to 40.0 %"),
        ((1 / 25000,) * 4, "chance 0.004 %"),
    ],
)
def test_levels_of_chance_are_named_if_they_differ(chances: tuple[float, ...], text: str) -> None:
    groups = [f"{split}: {kind}" for split in ("Validation", "Test") for kind in ("exact pair", "intra-cluster")]
    columns = [Column(key=g, label="R@1", group=g, chance=c) for g, c in zip(groups, chances, strict=True)]
    (panel,) = draw_dot_plots(make_table(["a"], *columns))
    assert text in texts(panel.svg)


def test_levels_of_chance_have_different_dashes() -> None:
    columns = [MIN, VALIDATION.model_copy(update={"chance": 0.3})]
    broken = re.findall(r"stroke-dasharray: ([\d., ]+)", draw_dot_plots(make_table(["a"], *columns))[0].svg)
    assert len(set(broken)) == 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("stable-diffusion-v1.4", ["stable-diffusion-v1.4"]),
        (
            "stable-diffusion-v1.4 · openclip-vit-b32-laion400m",
            ["stable-diffusion-v1.4 ·", "openclip-vit-b32-", "laion400m"],
        ),
        ("all generators · clip-vit-b16", ["all generators ·", "clip-vit-b16"]),
        ("onnx:/home/somebody/weights/tiny.onnx@proj", ["onnx:/home/somebody/", "weights/tiny.onnx@proj"]),
        ("", [""]),
    ],
)
def test_labels_wrap_between_words_and_long_names_at_punctuation(text: str, lines: list[str]) -> None:
    assert wrap_text(text).split("\n") == lines


def test_dots_are_ordered_by_value_and_validation_is_hollow() -> None:
    made = table([(("a",), {"vmin": number(0.2), "tmin": number(0.8)})], ("Backbone",), VALIDATION, MIN)
    validation, test = find_dots(draw_dot_plots(made)[0])
    assert validation[0] < test[0]
    assert "--paper" in validation[1]
    assert "--s0" in test[1]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("x", "y", "z"), [("x", True, "s"), ("y", False, "o"), ("z", True, "o")]),
        (
            ("x: a", "x: b", "y: a", "y: b"),
            [("x, a", False, "o"), ("x, b", False, "s"), ("y, a", True, "o"), ("y, b", True, "s")],
        ),
    ],
)
def test_markers_alternate_between_hollow_and_filled(
    groups: tuple[str, ...], expected: list[tuple[str, bool, str]]
) -> None:
    made = make_table(["a"], *(Column(key=g, label="A", group=g) for g in groups))
    assert [(mark.name, mark.filled, mark.shape) for mark in choose_markers(made).values()] == expected


def test_validation_is_hollow_and_test_is_filled_in_every_table(studied: list[Result]) -> None:
    tables = [made for one in studied for made in one.tables]
    for made in (made for made in tables if made.columns[0].group.partition(":")[0] in ("Validation", "Test")):
        assert {(mark.name.split(",")[0], mark.filled) for mark in choose_markers(made).values()} <= {
            ("Validation", False),
            ("Test", True),
        }


def test_a_backbone_keeps_its_colour_across_generators() -> None:
    made = table([((g, b), {"tmin": number()}) for g in ("v1", "v2") for b in ("a", "b")], LABELS, MIN)
    panel = draw_dot_plots(made)[0]
    assert [re.findall(r"--s\d", fill) for _, fill in find_dots(panel)] == [["--s0"], ["--s1"], ["--s0"], ["--s1"]]


@pytest.mark.parametrize(("value", "half", "is_full_range"), [(0.5, 0.5, True), (0.99, 0.005, False)])
def test_the_axis_has_its_full_range_only_for_wide_intervals(value: float, half: float, is_full_range: bool) -> None:
    words = texts(draw_dot_plots(make_table(["a"], MAX, cell=number(value, half)))[0].svg)
    assert ("0 %" in words) is is_full_range
    assert "100 %" in words


def test_missing_numbers_are_not_drawn() -> None:
    odd = number(float("nan"))
    panels = draw_dot_plots(table([(("a",), {"tmin": odd}), (("b",), {"tmin": number()})], ("Backbone",), MIN, MAX))
    assert [panel.title for panel in panels] == ["Min"]
    assert len(find_dots(panels[0])) == 1
    assert draw_dot_plots(table([], LABELS, MIN)) == []


def test_drawing_is_reproducible_and_changes_no_global_settings() -> None:
    made = make_table(["a", "b"], VALIDATION, MIN, MAX)
    before = dict(mpl.rcParams)
    assert draw_dot_plots(made) == draw_dot_plots(made)
    assert dict(mpl.rcParams) == before


def test_text_is_never_markup_or_a_formula() -> None:
    names = ["<script>alert(1)</script>", "$x_1$", "$", "日本語", "a\udcffb", "a\x00b\nc", "", "-->", "x" * 300]
    panel = draw_dot_plots(make_table(names, MIN).model_copy(update={"key": "a\udcff"}))[0]
    assert "<script" not in panel.svg
    words = texts(panel.svg)
    for shown in ("$x_1$", "日本語", r"a\udcffb", "a b c"):
        assert shown in words


def test_a_figure_has_no_styles_or_ids_that_affect_the_page() -> None:
    svg = draw_dot_plots(make_table(["a"], MIN))[0].svg
    assert svg.startswith("<svg")
    assert "<style" not in svg
    assert "<metadata" not in svg
    root = parse(svg)
    used = set(re.findall(r"#([mp][0-9a-f]+)", svg))
    assert {element.attrib["id"] for element in root.iter() if "id" in element.attrib} == used
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert not re.search(r"(?:fill|stroke): #", svg)


def find_diamonds(panel: Panel) -> list[float]:
    """The x positions of the open diamonds."""
    uses = parse(panel.svg).iter(f"{SVG}use")
    return [float(use.attrib["x"]) for use in uses if "fill: " not in use.attrib["style"]]


def test_the_papers_value_is_an_open_diamond_within_the_axis() -> None:
    panel = draw_dot_plots(make_table(["a"], MAX, cell=number(half=0.01, paper=0.7)))[0]
    (diamond,) = find_diamonds(panel)
    assert diamond > find_dots(panel)[0][0]
    assert "70 %" in texts(panel.svg)
    assert find_diamonds(draw_dot_plots(make_table(["a"], MAX))[0]) == []


def test_estimates_of_a_row_do_not_overlap() -> None:
    columns = [Column(key=g, label="R@1", group=g) for g in ("a", "b", "c", "d")]
    made = make_table(["x", "y"], *columns)
    heights = [float(use.attrib["y"]) for use in parse(draw_dot_plots(made)[0].svg).iter(f"{SVG}use")]
    assert all(later - former > 6 for former, later in pairwise(heights))


def find_baselines(svg: str) -> dict[str, float]:
    """The y position of each text's baseline, from the top."""
    positions = {}
    for text in parse(svg).iter(f"{SVG}text"):
        place = re.search(r"translate\([-\d.]+ ([-\d.]+)\)", text.attrib.get("transform", ""))
        positions["".join(text.itertext())] = float(place[1] if place else text.attrib["y"])
    return positions


def test_lines_of_a_label_are_evenly_spaced_and_rows_are_farther_apart() -> None:
    (panel,) = draw_dot_plots(
        make_table(["one-long-first-name of-three_lines nnnnnnn-nnnnnnn", "n" * 20 + " " + "u" * 20], MAX)
    )
    heights = sorted(y for text, y in find_baselines(panel.svg).items() if "%" not in text and text != "SD")
    first, second, between, last = (later - former for former, later in pairwise(heights))
    assert first == pytest.approx(second, abs=0.1)
    assert last == pytest.approx(second, abs=0.1)
    assert first > FONT_SIZE
    assert between > 1.4 * first


def test_the_p_value_of_a_difference_is_named_and_does_not_choose_the_colour() -> None:
    rows = [
        ((f"{first} minus b", p), {"tmax": number()}) for first, p in (("a", "0.030"), ("c", "< 0.001"), ("d", "0.030"))
    ]
    (panel,) = draw_dot_plots(table(rows, ("Difference", P_VALUE_LABEL), MAX))
    words = texts(panel.svg)
    assert words.count("p = 0.030") == 2
    assert words.count("p < 0.001") == 1
    assert "a minus b" in words
    assert [re.findall(r"--s\d", fill) for _, fill in find_dots(panel)] == [["--s0"], ["--s1"], ["--s2"]]


def test_the_p_value_stands_only_beside_the_measure_that_it_is_of() -> None:
    cells = {"tmax": number(), "tmin": number()}
    first, second = draw_dot_plots(table([(("a", "0.030"), cells)], ("Difference", P_VALUE_LABEL), MAX, MIN))
    assert "p = 0.030" in texts(first.svg)
    assert "p = 0.030" not in texts(second.svg)


@pytest.mark.parametrize("generators", [("v1",), ("v1", "v2"), ("v1", "v2", "v3", "v4", "v5")])
def test_rows_that_do_not_fit_on_a_page_are_continued_in_further_panels(generators: tuple[str, ...]) -> None:
    rows = [
        ((name, f"{name} {i}"), {"tmax": number(0.9 if name == "v1" else 0.1)})
        for name in generators
        for i in range(40)
    ]
    panels = draw_dot_plots(table(rows, LABELS, MAX))
    assert [panel.title for panel in panels] == ["Max"] + ["Max, continued"] * (len(panels) - 1)
    assert [word for panel in panels for word in texts(panel.svg) if re.fullmatch(r"v\d \d+", word)] == [
        backbone for (_, backbone), _ in rows
    ]
    for panel in panels:
        words = texts(panel.svg)
        assert float(parse(panel.svg).attrib["viewBox"].split()[3]) < MAX_HEIGHT
        assert {word.split()[0] for word in words if re.fullmatch(r"v\d \d+", word)} <= set(words)
    axes = {tuple(word for word in texts(panel.svg) if "%" in word) for panel in panels}
    assert len(axes) == 1


def test_a_block_that_fits_on_a_page_is_not_divided() -> None:
    rows = [((name, f"{name} {i}"), {"tmax": number()}) for name in ("v1", "v2") for i in range(18)]
    first, second = draw_dot_plots(table(rows, LABELS, MAX))
    assert "v1 17" in texts(first.svg)
    assert "v2 0" not in texts(first.svg)
    assert "v2 17" in texts(second.svg)
