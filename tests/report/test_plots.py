"""Line plots: which stand together, to one scale, what is marked, and that anything can be drawn."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeling.experiments.result import Curve, Plot
from changeling.report.plots import Line, families
from tests.report import samples

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)  # noqa: S314  (we wrote it ourselves)
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def plot(title: str = "Loss: a", **changes: object) -> Plot:
    curve = Curve(name="S", x=(1, 2, 3), y=(0.5, 0.6, 0.7))
    return Plot.model_validate(
        {"key": title, "title": title, "x_label": "epoch", "y_label": "loss", "curves": (curve,)} | changes
    )


def test_plots_of_the_same_measure_stand_together_with_one_legend() -> None:
    made = families(samples.plots(dims=(8,) * 6))
    assert [family.title for family in made] == ["Balanced accuracy over C", "Singular values", "Training loss"]
    assert [len(family.panels) for family in made] == [12, 12, 12]
    assert made[0].panels[0].title == "stable-diffusion-v1.4, rn50-imagenet"
    assert [line.name for line in made[0].lines] == ["raw features", "S"]
    assert made[1].notes == ("Directions that S only shrinks, without zeroing them, a probe can stretch again.",)


def test_a_curve_keeps_its_colour_and_dashes_wherever_it_is_drawn() -> None:
    accuracy, values, losses = families(samples.plots(dims=(8,) * 6))
    assert accuracy.lines[1] == values.lines[0] == losses.lines[0] == Line("S", 1)
    assert "var(--s1" in values.panels[0].svg
    assert "var(--s0" not in values.panels[0].svg
    assert len({Line("", index).dash for index in range(4)}) == 4


def test_a_plot_alone_keeps_its_title() -> None:
    (made,) = families([plot()])
    assert (made.title, made.panels[0].title) == ("Loss: a", "")


def test_shares_are_per_cent_and_powers_of_ten_are_written_as_such() -> None:
    words = texts(families(samples.plots(dims=(8,) * 6))[0].panels[0].svg)
    for shown in ("60 %", "100 %", "10⁻⁴", "0.01", "1", "10⁶", "balanced accuracy on the test split"):
        assert shown in words
    assert not any("$" in word for word in words)


def test_intervals_are_bands_and_chance_is_named() -> None:
    accuracy, values, _ = families(samples.plots(dims=(8,) * 6))
    assert accuracy.bands
    assert accuracy.chance == "50 %"
    assert accuracy.panels[0].svg.count("opacity: 0.2") == 2
    assert "stroke-dasharray: 4,3" in accuracy.panels[0].svg
    assert not values.bands
    assert values.chance == ""


def test_panels_of_a_family_share_their_scale() -> None:
    near, far = plot("Loss: a"), plot("Loss: b", curves=(Curve(name="S", x=(1, 2), y=(0.5, 40)),))
    (made,) = families([near, far])
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


def test_the_same_plots_give_the_same_bytes_and_nothing_leaks() -> None:
    first, second = (families(samples.plots(dims=(8,) * 6)) for _ in range(2))
    assert first == second
    svg = first[0].panels[0].svg
    assert svg.startswith("<svg")
    assert "<style" not in svg
    assert not re.search(r"(?:fill|stroke): #", svg)


def test_a_line_of_thousands_of_points_stays_small() -> None:
    x = tuple(range(1, 20001))
    (made,) = families([plot(curves=(Curve(name="S", x=x, y=tuple(1 / value for value in x)),))])
    assert len(made.panels[0].svg) < 12_000


floats = st.floats(-1e9, 1e9) | st.sampled_from((math.nan, math.inf, 0.0))
curves = st.builds(
    Curve,
    name=st.text(max_size=5),
    x=st.lists(floats, max_size=4).map(tuple),
    y=st.lists(floats, max_size=4).map(tuple),
    low=st.lists(floats, max_size=4).map(tuple),
    high=st.lists(floats, max_size=4).map(tuple),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(curves, max_size=3), st.booleans(), st.booleans(), st.text(max_size=30))
def test_anything_can_be_drawn(some: list[Curve], x_log: bool, y_log: bool, text: str) -> None:
    for made in families([plot(x_log=x_log, y_log=y_log, curves=some, x_label=text, y_label=text, chance=0.5)]):
        for panel in made.panels:
            texts(panel.svg.encode("utf-8", "backslashreplace").decode())
