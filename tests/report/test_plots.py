"""Line plots: which stand together, to one scale, what is marked, and that anything can be drawn."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeling.report.plots import Family, Line, families
from changeling.results.result import Curve, Plot, Result
from tests.report.samples import texts


@pytest.fixture(scope="module")
def drawn(studied: list[Result]) -> list[Family]:
    """The plots of a real study, drawn."""
    return families(studied[3].plots)


def plot(title: str = "Loss", **changes: object) -> Plot:
    curve = Curve(name="S", x=(1, 2, 3), y=(0.5, 0.6, 0.7))
    return Plot.model_validate({"title": title, "x_label": "epoch", "y_label": "loss", "curves": (curve,)} | changes)


def test_plots_of_one_title_stand_together_with_one_legend(drawn: list[Family]) -> None:
    assert [family.title for family in drawn] == ["Balanced accuracy over C", "Singular values", "Training loss"]
    assert [len(family.panels) for family in drawn] == [6, 6, 6]
    assert {panel.title for panel in drawn[0].panels} == {
        f"{generator}, {backbone}"
        for generator in ("all generators", "alpha", "beta")
        for backbone in ("planted", "other-planted")
    }
    assert [line.name for line in drawn[0].lines] == ["raw features", "S"]
    assert drawn[1].notes == ("Directions that S only shrinks, without zeroing them, a probe can stretch again.",)


def test_plots_of_one_title_with_other_axes_stand_apart() -> None:
    made = families([plot(), plot(x_label="step"), plot(of="b")])
    assert [[panel.title for panel in family.panels] for family in made] == [["", "b"], [""]]
    assert [family.title for family in made] == ["Loss", "Loss"]


def test_a_curve_keeps_its_colour_and_dashes_wherever_it_is_drawn(drawn: list[Family]) -> None:
    accuracy, values, losses = drawn
    assert accuracy.lines[1] == values.lines[0] == losses.lines[0] == Line("S", 1)
    assert "var(--s1" in values.panels[0].svg
    assert "var(--s0" not in values.panels[0].svg


def test_dashes_are_drawn_as_the_legend_has_them() -> None:
    curves = tuple(Curve(name=name, x=(1, 2), y=(1, 2)) for name in "abcd")
    (made,) = families([plot(curves=curves)])
    drawn = re.findall(r"stroke-dasharray: ([\d.,]+)", made.panels[0].svg)
    assert drawn == [line.dash.replace(" ", ",") for line in made.lines[1:]]
    assert len({line.dash for line in made.lines}) == 4


def test_shares_are_per_cent_and_powers_of_ten_are_written_as_such(drawn: list[Family]) -> None:
    words = texts(drawn[0].panels[0].svg)
    for shown in ("50 %", "10⁻⁴", "0.01", "1", "10⁶", "balanced accuracy on the test split"):
        assert shown in words
    assert not any("$" in word for word in words)


def test_intervals_are_bands_and_chance_is_named(drawn: list[Family]) -> None:
    accuracy, values, _ = drawn
    assert accuracy.bands
    assert accuracy.chance == "50 %"
    assert accuracy.panels[0].svg.count("opacity: 0.2") == 2
    assert "stroke-dasharray: 4,3" in accuracy.panels[0].svg
    assert not values.bands
    assert values.chance == ""


def test_panels_of_a_family_share_their_scale() -> None:
    (made,) = families([plot(of="a"), plot(of="b", curves=(Curve(name="S", x=(1, 2), y=(0.5, 40)),))])
    assert [word for word in texts(made.panels[0].svg) if word.isdigit()][-1] == "40"
    assert "40" in texts(made.panels[1].svg)


@pytest.mark.parametrize(("y", "shown"), [((0.3, 0.4), "0.5"), ((2e-6, 3e-6), "2·10⁻⁶"), ((1e-5, 1), "10⁻⁴")])
def test_a_log_axis_has_ticks_however_short_it_is(y: tuple[float, ...], shown: str) -> None:
    (made,) = families([plot(y_log=True, curves=(Curve(name="S", x=(1, 2), y=y),))])
    words = texts(made.panels[0].svg)
    assert len(words) > 4
    assert shown in words


def test_what_cannot_be_drawn_is_left_out() -> None:
    odd = Curve(name="S", x=(0, 1, 2, 3), y=(0.1, -1.0, math.nan, 0.5))
    (made,) = families([plot(y_log=True, x_log=True, curves=(odd,))])
    assert len(re.findall(r"<use ", made.panels[0].svg)) == 1
    assert families([plot(curves=()), plot(curves=(Curve(name="S", x=(), y=()),))]) == []
    assert families([plot(curves=(Curve(name="S", x=(1,), y=(math.nan,)),))]) == []


def test_the_same_plots_give_the_same_bytes_and_nothing_leaks(studied: list[Result], drawn: list[Family]) -> None:
    assert families(studied[3].plots) == drawn
    svg = drawn[0].panels[0].svg
    assert svg.startswith("<svg")
    assert "<style" not in svg
    assert not re.search(r"(?:fill|stroke): #", svg)


def test_a_line_of_thousands_of_points_stays_small() -> None:
    x = tuple(range(1, 20001))
    (made,) = families([plot(curves=(Curve(name="S", x=x, y=tuple(1 / value for value in x)),))])
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
def test_anything_can_be_drawn(some: list[Curve], x_log: bool, y_log: bool, title: str, text: str) -> None:
    made = plot(title, of=text, x_log=x_log, y_log=y_log, curves=some, x_label=text, y_label=text, chance=0.5)
    for family in families([made]):
        for panel in family.panels:
            texts(panel.svg)
