"""The revision of a model: which files exactly were used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit of the Hugging Face Hub, or a hash over the files of a local folder.

    Its text, as it is recorded, is the commit itself, or "files" and the hash.
    """

    kind: Literal["commit", "files"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the recorded text of a revision."""
        prefix, _, value = text.partition(" ")
        return cls("files", value) if prefix == "files" else cls("commit", text)

    def __str__(self) -> str:
        return f"files {self.value}" if self.kind == "files" else self.value


def is_commit(revision: str) -> bool:
    """Whether a revision of the Hub is the hash of a commit, not a branch or tag that may move."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None
