"""Sizes and durations in words."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from changeling.build.estimate import format_bytes, format_time_left


@pytest.mark.parametrize(
    ("seconds", "length"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59, "59 s"),
        (60, "1 min"),
        (150, "2 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (3 * 3600 + 600, "3 h 10 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 0 h"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_a_duration_is_formatted_with_the_time_of_its_end(seconds: float, length: str) -> None:
    ends = [f"{datetime.now() + timedelta(seconds=seconds):%a %d %b %H:%M}"]
    text = format_time_left(seconds)
    ends.append(f"{datetime.now() + timedelta(seconds=seconds):%a %d %b %H:%M}")  # a minute may pass meanwhile
    assert text in [f"{length}, until {end}" for end in ends]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 kB"), (340_400, "340 kB"), (960_000, "1.0 MB"), (2.1e9, "2.1 GB"), (9.4e8, "940.0 MB")]
)
def test_a_number_of_bytes_is_formatted_with_its_unit(count: float, text: str) -> None:
    assert format_bytes(count) == text
