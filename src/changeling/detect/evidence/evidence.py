"""One piece of evidence about where an image comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["content credentials", "digital source type", "camera data", "generator parameters"]
State = Literal[
    "trusted signer",  # content credentials that are valid, by a signer on the trust list
    "unknown signer",  # content credentials that are valid, by any other signer: anyone can make these
    "invalid",  # content credentials of which the file, the statements or the certificate failed validation
    "found",
    "absent",
    "unreadable",  # damaged, too large, or not understood
    "unavailable",  # not looked at: a package is missing
]
Suggestion = Literal["generated", "partly generated", "captured"]

MAX_TEXT = 300  # characters of a text that is quoted from a file


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one kind of metadata says, what that is worth, and how easily it is forged.

    Texts that come from the file are untrusted: escape them before a terminal shows them.

    Attributes:
        kind: which metadata it is.
        state: whether there is any, and whether it can be trusted.
        summary: what was found, in plain words.
        suggests: what it says about the image, if it says anything: generated, partly generated, or captured by a
            camera. Invalid evidence suggests nothing.
        worth: how much weight it has.
        forging: how easily it is forged.
        details: what it is based on, by name.
    """

    kind: Kind
    state: State
    summary: str
    suggests: Suggestion | None = None
    worth: str = ""
    forging: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


def summarize(evidence: Iterable[Evidence]) -> str:
    """Return evidence in a few words, for a cell of a table: what there is, and what it suggests."""
    return "; ".join(
        f"{item.kind}: {_describe_state(item)}" for item in evidence if item.state not in ("absent", "unavailable")
    )


def _describe_state(item: Evidence) -> str:
    if item.state == "found":
        return item.suggests or "found"
    if item.state in ("trusted signer", "unknown signer"):
        return f"{item.suggests or 'found'} ({item.state})"
    return item.state


def shorten(value: object, limit: int = MAX_TEXT) -> str:
    """Return a value of a file as one line of at most `limit` characters."""
    text = " ".join(str(value)[: 8 * limit].replace("\0", " ").split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def quote(value: object, limit: int = MAX_TEXT) -> str:
    """Return a value of a file in quotation marks, as `shorten` does."""
    return f'"{shorten(value, limit)}"'
