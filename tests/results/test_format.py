"""Numbers and labels are formatted for readers."""

import pytest

from changeling.results.format import format_count, format_interval, format_label, format_percent
from changeling.results.result import Estimate


def test_a_share_is_written_as_per_cent_with_one_decimal() -> None:
    assert format_percent(1 / 6) == "16.7 %"


def test_an_interval_is_written_with_both_ends() -> None:
    assert format_interval(Estimate(value=0.5, low=0.25, high=0.75, clusters=3, images=9)) == "25.0 % to 75.0 %"


def test_a_count_has_the_noun_that_fits_the_number() -> None:
    assert format_count(1, "cluster", "clusters") == "1 cluster"
    assert format_count(1, "child", "children") == "1 child"
    assert format_count(5000, "child", "children") == "5,000 children"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("all", "all generators"),
        ("all, clip-vit-b16", "all generators, clip-vit-b16"),
        ("Real and fake: all, test split", "Real and fake: all generators, test split"),
        ("all-in-one", "all-in-one"),
        ("overall", "overall"),
    ],
)
def test_the_label_all_is_shown_as_all_generators(label: str, expected: str) -> None:
    assert format_label(label) == expected
