"""Generator presets: generators that a study file can name without a table of settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

RESERVED_NAMES = ("all", "parents", "index.html")  # in tables of results, and in the folder build/


def read_presets() -> dict[str, dict[str, Any]]:
    """The settings of each preset, by the generator's name."""
    return tomllib.loads(files("changeling").joinpath("data", "generators.toml").read_text("utf-8"))


def fill_from_presets(generators: object) -> object:
    """The tables [generators.NAME] of a study file, with what each leaves open taken from the preset of its name.

    Raises:
        ValueError: a name is reserved, contains "/", or is no preset while its table names no model.
    """
    if not isinstance(generators, Mapping):
        return generators
    presets = read_presets()
    filled = {}
    for name, table in generators.items():
        if not isinstance(table, Mapping):
            return generators
        _check_name(name)
        if name not in presets and "model" not in table:
            similar = difflib.get_close_matches(name, presets, 1, 0.5)
            hint = f"did you mean {similar[0]!r}?" if similar else f"presets are {', '.join(presets)}"
            raise ValueError(f"[generators.{name}] is not a preset and has no model; {hint}")
        filled[name] = {**presets.get(name, {}), **table}
    return filled


def _check_name(name: str) -> None:
    if name in RESERVED_NAMES:
        raise ValueError(f"[generators.{name!r}]: the name {name!r} is reserved; choose another name")
    if "/" in name:
        raise ValueError(f"[generators.{name!r}]: a name cannot contain '/', which separates the parts of an image id")
