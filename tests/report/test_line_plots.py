"""Line plots: groups with one scale and one legend, ticks, and hostile values and texts."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeling.report.figures.line_plots import LineStyle, PlotGroup, draw_line_plots
from changeling.results.result import Curve, Plot, Result
from tests.report.samples import texts


@pytest.fixture(scope="module")
def drawn(studied: list[Result]) -> list[PlotGroup]:
    """The plots of a real study, drawn."""
    return draw_line_plots(studied[3].plots)


def plot(title: str = "Loss", **changes: object) -> Plot:
    curve = Curve(name="S", x=(1, 2, 3), y=(0.5, 0.6, 0.7))
    return Plot.model_validate({"title": title, "x_label": "epoch", "y_label": "loss", "curves": (curve,)} | changes)


def test_plots_of_one_title_are_one_group_with_one_legend(studied: list[Result], drawn: list[PlotGroup]) -> None:
    assert [group.title for group in drawn] == ["Balanced accuracy over C", "Singular values", "Training loss"]
    assert [len(group.panels) for group in drawn] == [6, 6, 6]
    assert {panel.title for panel in drawn[0].panels} == {
        f"{generator}, {backbone}"
        for generator in ("all generators", "alpha", "beta")
        for backbone in ("planted", "other-planted")
    }
    assert [line.name for line in drawn[0].lines] == ["raw features", "S"]
    (note,) = {plot.note for plot in studied[3].plots if plot.title == "Singular values"}
    assert note
    assert drawn[1].notes == (note,)


def test_plots_of_one_title_with_other_axes_are_separate_groups() -> None:
    made = draw_line_plots([plot(), plot(x_label="step"), plot(of="b")])
    assert [[panel.title for panel in group.panels] for group in made] == [["", "b"], [""]]
    assert [group.title for group in made] == ["Loss", "Loss"]


def test_a_curve_has_the_same_style_in_all_groups(drawn: list[PlotGroup]) -> None:
    accuracy, values, losses = drawn
    assert accuracy.lines[1] == values.lines[0] == losses.lines[0] == LineStyle("S", 1)
    assert "var(--s1" in values.panels[0].svg
    assert "var(--s0" not in values.panels[0].svg


def test_dashes_match_the_legend() -> None:
    curves = tuple(Curve(name=name, x=(1, 2), y=(1, 2)) for name in "abcd")
    (made,) = draw_line_plots([plot(curves=curves)])
    drawn = re.findall(r"stroke-dasharray: ([\d.,]+)", made.panels[0].svg)
    assert drawn == [line.dash.replace(" ", ",") for line in made.lines[1:]]
    assert len({line.dash for line in made.lines}) == 4


def test_ticks_are_per_cent_or_powers_of_ten(drawn: list[PlotGroup]) -> None:
    words = texts(drawn[0].panels[0].svg)
    for shown in ("50 %", "10⁻⁴", "0.01", "1", "10⁶", "balanced accuracy on the test split"):
        assert shown in words
    assert not any("$" in word for word in words)


def test_intervals_are_bands_and_chance_is_labelled(drawn: list[PlotGroup]) -> None:
    accuracy, values, _ = drawn
    assert accuracy.has_intervals
    assert accuracy.chance == "50 %"
    assert accuracy.panels[0].svg.count("opacity: 0.2") == 2
    assert "stroke-dasharray: 4,3" in accuracy.panels[0].svg
    assert not values.has_intervals
    assert values.chance == ""


def test_panels_of_a_group_share_their_scale() -> None:
    (made,) = draw_line_plots([plot(of="a"), plot(of="b", curves=(Curve(name="S", x=(1, 2), y=(0.5, 40)),))])
    assert [word for word in texts(made.panels[0].svg) if word.isdigit()][-1] == "40"
    assert "40" in texts(made.panels[1].svg)


@pytest.mark.parametrize(("y", "shown"), [((0.3, 0.4), "0.5"), ((2e-6, 3e-6), "2·10⁻⁶"), ((1e-5, 1), "10⁻⁴")])
def test_a_short_log_axis_has_ticks(y: tuple[float, ...], shown: str) -> None:
    (made,) = draw_line_plots([plot(y_log=True, curves=(Curve(name="S", x=(1, 2), y=y),))])
    words = texts(made.panels[0].svg)
    assert len(words) > 4
    assert shown in words


def test_values_that_cannot_be_drawn_are_left_out() -> None:
    odd = Curve(name="S", x=(0, 1, 2, 3), y=(0.1, -1.0, math.nan, 0.5))
    (made,) = draw_line_plots([plot(y_log=True, x_log=True, curves=(odd,))])
    assert len(re.findall(r"<use ", made.panels[0].svg)) == 1
    assert draw_line_plots([plot(curves=()), plot(curves=(Curve(name="S", x=(), y=()),))]) == []
    assert draw_line_plots([plot(curves=(Curve(name="S", x=(1,), y=(math.nan,)),))]) == []


def test_drawing_is_reproducible_and_does_not_affect_the_page(studied: list[Result], drawn: list[PlotGroup]) -> None:
    assert draw_line_plots(studied[3].plots) == drawn
    svg = drawn[0].panels[0].svg
    assert svg.startswith("<svg")
    assert "<style" not in svg
    assert not re.search(r"(?:fill|stroke): #", svg)


def test_a_curve_of_thousands_of_points_is_small() -> None:
    x = tuple(range(1, 20001))
    (made,) = draw_line_plots([plot(curves=(Curve(name="S", x=x, y=tuple(1 / value for value in x)),))])
    assert len(made.panels[0].svg) < 12_000


floats = st.floats(-1e9, 1e9) | st.sampled_from((math.nan, math.inf, 0.0))
curves = st.integers(0, 4).flatmap(
    lambda size: st.builds(
        Curve,
        name=st.text(max_size=5),
        x=st.lists(floats, min_size=size, max_size=size).map(tuple),
        y=st.lists(floats, min_size=size, max_size=size).map(tuple),
        low=st.just(()) | st.lists(floats, min_size=size, max_size=size).map(tuple),
        high=st.just(()) | st.lists(floats, min_size=size, max_size=size).map(tuple),
    )
)
names = st.text(st.characters(), max_size=30)


@settings(deadline=None, max_examples=40)
@given(st.lists(curves, max_size=3), st.booleans(), st.booleans(), names, names)
def test_any_plot_can_be_drawn(some: list[Curve], x_log: bool, y_log: bool, title: str, text: str) -> None:
    made = plot(title, of=text, x_log=x_log, y_log=y_log, curves=some, x_label=text, y_label=text, chance=0.5)
    for group in draw_line_plots([made]):
        for panel in group.panels:
            texts(panel.svg)
