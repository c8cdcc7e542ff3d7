"""What an audit finds, on a terminal and in a file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from changeling.files import atomic_write, escape_formula

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal[
    "leak",
    "missing",
    "unreadable",
    "changed",
    "mismatch",
    "flat",
    "duplicate",
    "flagged",
    "failed",
    "no parent",
    "no caption",
    "repeated caption",
    "orphan",
    "leftover",
]
KINDS: Mapping[Kind, str] = {  # the gravest first
    "leak": "the same picture in two splits: a test that knows the answer",
    "missing": "no file where the row says",
    "unreadable": "a file that cannot be decoded",
    "changed": "not the file that the row was made of",
    "mismatch": "another size or format than the row says",
    "flat": "one colour, as a safety checker leaves it",
    "duplicate": "the same picture in two clusters of a split",
    "flagged": "a child without an image, as the safety checker flagged it",
    "failed": "a row without an image, as it says itself",
    "no parent": "a cluster of children alone",
    "no caption": "a child that no caption belongs to",
    "repeated caption": "a caption that two clusters share",
    "orphan": "a file in images/ that no row names",
    "leftover": "what a run that was stopped has left",
}
MEND: frozenset[Kind] = frozenset(["leak", "missing", "unreadable", "changed"])
_EXAMPLES = 3  # of each kind, on a terminal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        name: of what it is about: an image_id, a cluster_id, or a file.
    """

    kind: Kind
    name: str
    detail: str

    @classmethod
    def of(cls, kind: Kind, name: str, detail: str) -> Finding:
        """A finding that any terminal and any file can hold: what cannot be printed is escaped."""
        return cls(kind, _plain(name), _plain(detail))


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked at, and what was found, the gravest first."""

    images: int
    clusters: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[Kind]:
        """How many findings there are of each kind."""
        return Counter(finding.kind for finding in self.findings)

    @property
    def must_be_mended(self) -> int:
        """How many findings would make results wrong."""
        return sum(finding.kind in MEND for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line."""
        mend, others = self.must_be_mended, len(self.findings) - self.must_be_mended
        found = f"{mend:,} to mend, {others:,} to know of" if self.findings else "nothing found"
        return f"{self.images:,} images in {self.clusters:,} clusters: {found}"


def as_table(audit: Audit) -> Table:
    """A table for a terminal: how many of each kind, and a few of them."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("found", justify="right")
    table.add_column("what")
    table.add_column("such as", overflow="fold")
    for kind, count in audit.counts.items():
        some = [finding for finding in audit.findings if finding.kind == kind]
        examples = [escape(f"{one.name}: {one.detail}") for one in some[:_EXAMPLES]]
        colour = "red" if kind in MEND else "yellow"
        table.add_row(
            f"{count:,}",
            f"[{colour}]{kind}[/]\n[dim]{KINDS[kind]}[/]",
            "\n".join([*examples, "..."] if len(some) > _EXAMPLES else examples),
        )
    return table


def write_findings(audit: Audit, path: Path) -> None:
    """Write every finding as a row of a CSV file, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Finding))
        writer.writerows(map(escape_formula, astuple(finding)) for finding in audit.findings)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
