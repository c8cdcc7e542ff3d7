"""Release dates: those of the package, overridden by given ones, from the oldest to the newest."""

import tomllib
from datetime import date
from importlib.resources import files

from changeling.experiments.release_dates import find_release_dates
from changeling.generators.presets import read_presets


def test_dates_are_sorted_and_given_ones_come_first() -> None:
    found = find_release_dates(["flux.1-dev", "SD-1.4", "mine", "unknown"], {"Mine": date(2020, 1, 1)})
    assert list(found.items()) == [
        ("mine", date(2020, 1, 1)),
        ("SD-1.4", date(2022, 8, 22)),
        ("flux.1-dev", date(2024, 8, 1)),
    ]
    assert find_release_dates(["sd-1.4"], {"SD-1.4": date(2021, 1, 1)}) == {"sd-1.4": date(2021, 1, 1)}


def test_the_table_has_dates_under_lower_case_names_and_every_preset() -> None:
    table = tomllib.loads(files("changeling").joinpath("data", "release_dates.toml").read_text("utf-8"))
    assert all(type(day) is date for day in table.values())
    assert all(name == name.casefold() for name in table)
    assert set(read_presets()) <= set(table)
