"""Values in the records of tables that others wrote, parsed; all functions raise ValueError for an invalid value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from changeling.datasets.importers.base import ChildOrigin
from changeling.datasets.importers.tables import SPLIT_NAMES, Record
from changeling.datasets.schema import Role, Split

Choice = TypeVar("Choice", bound=str)

ROLE_NAMES: Mapping[str, Role] = {
    "parent": "parent",
    "real": "parent",
    "0": "parent",
    "child": "child",
    "fake": "child",
    "1": "child",
}


def parse_role(record: Record) -> Role:
    """Return the role from the column `role` or `label`."""
    return _parse_choice(record, "role" if "role" in record else "label", ROLE_NAMES)


def parse_split(record: Record) -> Split | None:
    """Return the split from the column `split`, if it is not empty."""
    return _parse_choice(record, "split", SPLIT_NAMES) if parse_text(record, "split") else None


def parse_child_origin(record: Record) -> ChildOrigin:
    """Return the generator, the caption index and the seed of a child."""
    return ChildOrigin(
        parse_text(record, "generator") or "unknown",
        parse_number(record, "caption_index"),
        parse_number(record, "seed"),
    )


def parse_text(record: Record, column: str) -> str:
    """Return a text or number as a text; "" if the value is empty."""
    value = record.get(column)
    if _is_empty(value):
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{column} is {_shorten(value)}, not a text")
    return str(value)


def parse_number(record: Record, column: str) -> int | None:
    """Return a whole number from 0, which may be written as a text or a float; None if the value is empty."""
    value = record.get(column)
    if _is_empty(value):
        return None
    if not re.fullmatch(r"[0-9]{1,18}(\.0)?", str(value)):
        raise ValueError(f"{column} is {_shorten(value)}, not a number from 0")
    return int(str(value).partition(".")[0])


def parse_captions(record: Record) -> tuple[list[str], str]:
    """Return the captions of the cluster, if the record has them, and the image's own caption, if it has one."""
    own_caption = record.get("caption")
    if isinstance(own_caption, list):  # some datasets call the list of captions so
        return _parse_texts(own_caption), ""
    return _parse_texts(record.get("captions")), " ".join(parse_text(record, "caption").split())


def _parse_choice(record: Record, column: str, choices: Mapping[str, Choice]) -> Choice:
    """Return the choice that the value names; booleans and the floats 0 and 1 are read as 0 and 1."""
    value = record[column]
    if isinstance(value, bool | float) and value in (0, 1):
        value = int(value)
    choice = choices.get(str(value)) or choices.get(str(value).casefold())
    if choice is None:
        raise ValueError(f"{column} is {_shorten(record[column])}, not one of {', '.join(choices)}")
    return choice


def _parse_texts(value: Any) -> list[str]:
    """Return a list of texts, which may be written as JSON."""
    if _is_empty(value):
        return []
    texts = value
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            texts = json.loads(value)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"captions are {_shorten(value)}, not a list of texts")
    return [" ".join(text.split()) for text in texts]


def _is_empty(value: Any) -> bool:
    """Whether a value is None, an empty text, or NaN, as tables made with pandas have it."""
    return value is None or value == "" or value != value


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
