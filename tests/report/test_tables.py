"""The layout of tables: numbers as text, blocks of rows, headers with sample sizes."""

from __future__ import annotations

import pytest

from changeling.report.figures.dot_plots import draw_dot_plots
from changeling.report.tables.latex import format_latex
from changeling.report.tables.layout import Block, Cell, lay_out, split_blocks
from changeling.report.tables.text import choose_decimals, format_share
from changeling.results.result import Column, Estimate, Result
from tests.report.samples import number, table, texts

A = Column(key="a", label="A", group="Test", chance=1 / 6)
B = Column(key="b", label="B", group="Test")
V = Column(key="v", label="A", group="Validation")


def test_shares_are_formatted_as_percentages() -> None:
    assert format_share(1 / 6, 2) == "16.67"
    assert format_share(0.99996, 1) == "100.0"


@pytest.mark.parametrize(("clusters", "digits"), [(999, 1), (1000, 2), (5000, 2)])
def test_a_second_decimal_needs_a_thousand_clusters(clusters: int, digits: int) -> None:
    made = table([(("x",), {"a": number(clusters=5000), "b": number(clusters=clusters)})], ("Backbone",), A, B)
    assert choose_decimals(made) == digits


def test_an_empty_table_has_a_layout() -> None:
    layout = lay_out(table([], ("Generator", "Backbone"), A))
    assert layout.blocks == (Block("", ()),)
    assert layout.warning == ""


def test_rows_are_in_blocks_by_generator() -> None:
    made = table([(("v1", "x"), {}), (("v1", "y"), {}), (("v2", "x"), {})], ("Generator", "Backbone"), A)
    assert [(title, len(rows)) for title, rows in split_blocks(made)] == [("v1", 2), ("v2", 1)]
    assert lay_out(made).labels == ("Backbone",)


def test_the_tables_of_a_study_have_their_blocks_and_headers(studied: list[Result]) -> None:
    layouts = {made.key: lay_out(made) for one in studied for made in one.tables}
    assert [block.title for block in layouts["probe"].blocks] == ["all generators", "alpha", "beta"]
    assert [block.title for block in layouts["transfer"].blocks] == [
        "Trained on all generators", "Trained on alpha", "Trained on beta",
    ]  # fmt: skip
    assert layouts["retrieval"].blocks[0].title == ""
    assert layouts["retrieval"].blocks[0].lines[0].labels == ("all generators", "planted")
    assert layouts["disentangle"].labels == ("Backbone", "Features")
    assert [line.labels for line in layouts["disentangle"].blocks[0].lines[:4]] == [
        ("other-planted", "raw"), ("", "S (not converged)"), ("", "T (not converged)"), ("planted", "raw"),
    ]  # fmt: skip
    assert [group.title for group in layouts["hidden"].groups] == ["raw features", "S"]
    assert {key for key, layout in layouts.items() if layout.is_wide} == {"retrieval", "disentangle", "hidden"}


def test_a_chance_that_differs_between_rows_is_printed_in_each_cell() -> None:
    rows = [(("v1",), {"a": number(), "b": number(chance=1 / 6)}), (("v2",), {"b": number(chance=1 / 11)})]
    made = table(rows, ("Generator",), A, B)
    first, second = lay_out(made).blocks[0].lines
    assert [cell.chance for cell in first.cells[0]] == ["", "16.7"]
    assert [cell.chance for cell in second.cells[0]] == ["", "9.1"]
    assert lay_out(made).chances == (("16.7", ""),)
    assert "chance 16.7}" in format_latex(made)
    *_, panel = draw_dot_plots(made)
    assert panel.svg.count("stroke-dasharray") == 2


def test_labels_that_never_repeat_make_no_blocks() -> None:
    made = table([(("v1", "x"), {}), (("v2", "x"), {})], ("Generator", "Backbone"), A)
    assert [title for title, _ in split_blocks(made)] == [""]
    assert lay_out(made).labels == ("Generator", "Backbone")


def test_repeated_labels_are_empty_except_in_the_last_column() -> None:
    rows: list[tuple[tuple[str, ...], dict[str, Estimate]]] = [
        (("v1", "x", "p"), {}),
        (("v1", "x", "q"), {}),
        (("v1", "y", "q"), {}),
        (("v2", "y", "q"), {}),
    ]
    made = lay_out(table(rows, ("Generator", "Backbone", "Layer"), A))
    assert [line.labels for block in made.blocks for line in block.lines] == [
        ("x", "p"),
        ("", "q"),
        ("y", "q"),
        ("y", "q"),
    ]


def test_a_cell_has_its_interval_and_a_missing_one_is_a_dash() -> None:
    made = lay_out(table([(("x",), {"a": number(0.25)})], ("Backbone",), A, B))
    assert made.blocks[0].lines[0].cells == ((Cell("25.0", "15.0", "35.0"), Cell("–")),)


def test_a_value_that_is_not_finite_is_a_dash() -> None:
    odd = [number(float("nan")), number().model_copy(update={"high": float("inf")})]
    made = lay_out(table([(("x",), {"a": odd[0], "b": odd[1]})], ("Backbone",), A, B))
    assert made.blocks[0].lines[0].cells == ((Cell("–"), Cell("50.0")),)


def test_a_header_has_the_sample_size_of_its_group() -> None:
    cells = {"v": number(clusters=5, images=30), "a": number(), "b": number()}
    groups = lay_out(table([(("x",), cells)], ("Backbone",), V, A, B)).groups
    assert [(group.title, group.count, group.span) for group in groups] == [
        ("Validation", ("5 clusters", "30 images"), 1),
        ("Test", ("12 clusters", "72 images"), 2),
    ]


def test_sample_sizes_that_differ_between_rows_are_a_column() -> None:
    rows = [
        (("x",), {"a": number(), "b": number()}),
        (("y",), {"a": number(clusters=9, images=1), "b": number(clusters=1200, images=1)}),
        (("z",), {}),
    ]
    made = lay_out(table(rows, ("Backbone",), A, B))
    assert made.groups[0].counted
    assert made.groups[0].span == 3
    assert [line.counts for block in made.blocks for line in block.lines] == [
        (("12", "72 images"),),
        (("9–1,200", "1 image"),),
        (("–", ""),),
    ]


def test_chance_has_a_row_only_where_a_column_has_one() -> None:
    rows = [(("x",), {"a": number(), "b": number()})]
    assert lay_out(table(rows, ("Backbone",), A, B)).chances == (("16.7", ""),)
    assert lay_out(table(rows, ("Backbone",), B)).chances == ()


@pytest.mark.parametrize(
    ("clusters", "warning"),
    [
        ((12, 12), "All estimates rest on only 12 clusters; interpret the intervals rather than the values."),
        ((1, 5000), "Some estimates rest on only 1 cluster; interpret the intervals rather than the values."),
        ((100, 100), ""),
    ],
)
def test_few_clusters_give_a_warning(clusters: tuple[int, int], warning: str) -> None:
    cells = {"a": number(clusters=clusters[0]), "b": number(clusters=clusters[1])}
    assert lay_out(table([(("x",), cells)], ("Backbone",), A, B)).warning == warning


def test_sample_sizes_that_differ_between_blocks_are_in_their_titles() -> None:
    rows = [
        (("v1", "x"), {"a": number(), "v": number(clusters=5)}),
        (("v1", "y"), {"a": number(), "v": number(clusters=5)}),
        (("v2", "x"), {"a": number(images=144), "v": number(clusters=5)}),
    ]
    made = lay_out(table(rows, ("Generator", "Backbone"), V, A))
    assert [(group.count, group.by_block, group.counted) for group in made.groups] == [
        (("5 clusters", "72 images"), False, False),
        ((), True, False),
    ]
    assert [block.counts for block in made.blocks] == [
        ("", "12 clusters, 72 images"),
        ("", "12 clusters, 144 images"),
    ]
    assert made.width == 3


def test_groups_with_a_common_prefix_have_it_as_their_header() -> None:
    columns = [
        Column(key=f"{split}{kind}{k}", label=f"R@{k}", group=f"{split}: {kind}")
        for split in ("Validation", "Test")
        for kind in ("exact pair", "intra-cluster")
        for k in (1, 3)
    ]
    made = lay_out(table([(("x",), {"Testexact pair1": number()})], ("Backbone",), *columns))
    assert made.spans == (("Validation", 4), ("Test", 4))
    assert [group.title for group in made.groups] == ["exact pair", "intra-cluster"] * 2
    assert lay_out(table([(("x",), {})], ("Backbone",), A, V)).spans == ()


def test_the_papers_value_has_a_verdict() -> None:
    near, far = (number(half=0.01).model_copy(update={"paper": paper}) for paper in (0.495, 0.71))
    wide = number(half=0.1).model_copy(update={"paper": 0.495})
    made = lay_out(table([(("x",), {"a": near, "b": far, "v": wide})], ("Backbone",), A, B, V))
    cells = [cell for group in made.blocks[0].lines[0].cells for cell in group]
    assert [(cell.paper, cell.verdict) for cell in cells] == [
        ("49.50", "agrees"), ("71.00", "differs"), ("49.50", "cannot tell"),
    ]  # fmt: skip
    assert made.paper == "Compared with the paper (3 values): 1 × agrees, 1 × differs, 1 × cannot tell."
    plain = lay_out(table([(("x",), {"a": number()})], ("Backbone",), A))
    assert plain.paper == ""
    assert plain.blocks[0].lines[0].cells[0][0].verdict == ""


def test_a_small_level_of_chance_has_its_first_digit() -> None:
    small = Column(key="a", label="R@1", chance=1 / 25000)
    assert lay_out(table([(("x",), {"a": number()})], ("Backbone",), small)).chances == (("0.004",),)


def test_a_shaded_column_is_the_darker_the_farther_above_chance() -> None:
    shaded = Column(key="a", label="A", chance=0.5, shaded=True)
    values = {0.3: 0, 0.5: 0, 0.75: 50, 1.0: 100}
    made = table([((str(value),), {"a": number(value)}) for value in values], ("Trained on",), shaded)
    assert [line.cells[0][0].shade for line in lay_out(made).blocks[0].lines] == list(values.values())
    assert draw_dot_plots(made) == []
    plain = made.model_copy(update={"columns": (shaded.model_copy(update={"shaded": False}),)})
    assert {line.cells[0][0].shade for line in lay_out(plain).blocks[0].lines} == {0}


def test_negative_differences_have_a_minus_sign_and_a_line_at_zero() -> None:
    difference = Column(key="d", label="Difference", better="none")
    cells = {"d": number().model_copy(update={"value": -0.0001, "low": -0.05, "high": 0.02})}
    made = table([(("a",), cells)], ("Generator",), difference)
    (cell,) = lay_out(made).blocks[0].lines[0].cells[0]
    assert (cell.value, cell.low, cell.high) == ("0.0", "−5.0", "2.0")
    assert "[$-$5.0, 2.0]" in format_latex(made)
    (panel,) = draw_dot_plots(made)
    assert "−4 %" in texts(panel.svg)
