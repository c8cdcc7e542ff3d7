"""The findings of an audit, as a table for a terminal and as a CSV file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from changeling.datasets.messages import format_count
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
KINDS: Mapping[Kind, str] = {  # the most serious first
    "leak": "the same picture in two splits: train/test leakage; leave one image out",
    "missing": "the file does not exist",
    "unreadable": "the file cannot be decoded",
    "changed": "the file is not the one that the row describes",
    "mismatch": "the size or the format differs from the row",
    "flat": "the image is a single colour, as a safety checker leaves it; leave it out",
    "duplicate": "the same picture in two clusters of one split",
    "flagged": "a child without an image, because the safety checker rejected it",
    "failed": "a row without an image; its status says why",
    "no parent": "a cluster that has children only",
    "no caption": "a child without its caption",
    "repeated caption": "the same caption in two clusters",
    "orphan": "a file in images/ that no row names",
    "leftover": "a temporary file of a run that was stopped",
}
ERRORS: frozenset[Kind] = frozenset(["leak", "missing", "unreadable", "changed"])  # they make results wrong
_EXAMPLES = 3  # of each kind, on a terminal


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a dataset.

    Attributes:
        name: of what has the problem: an image_id, a cluster_id, or a file.
    """

    kind: Kind
    name: str
    detail: str

    @classmethod
    def printable(cls, kind: Kind, name: str, detail: str) -> Finding:
        """Make a finding that every terminal and file can hold: characters that cannot be printed are escaped."""
        return cls(kind, _escape_unprintable(name), _escape_unprintable(detail))


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit: how much was checked, and the findings, the most serious first."""

    images: int
    clusters: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[Kind]:
        """Number of findings of each kind."""
        return Counter(finding.kind for finding in self.findings)

    @property
    def errors(self) -> int:
        """Number of findings that make results wrong."""
        return sum(finding.kind in ERRORS for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of the other findings."""
        return len(self.findings) - self.errors

    @property
    def summary(self) -> str:
        """The result in one line."""
        checked = f"{format_count(self.images, 'image')} in {format_count(self.clusters, 'cluster')}"
        if not self.findings:
            return f"{checked}: no errors or warnings"
        return f"{checked}: {format_count(self.errors, 'error')}, {format_count(self.warnings, 'warning')}"


def make_table(audit: Audit) -> Table:
    """Make a table for a terminal: the number of findings of each kind, and examples."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("kind")
    table.add_column("examples", overflow="fold")
    for kind, count in audit.counts.items():
        findings = [finding for finding in audit.findings if finding.kind == kind]
        examples = [escape(f"{finding.name}: {finding.detail}") for finding in findings[:_EXAMPLES]]
        if len(findings) > _EXAMPLES:
            examples.append("...")
        level, colour = ("error", "red") if kind in ERRORS else ("warning", "yellow")
        table.add_row(
            f"{count:,}",
            f"[{colour}]{kind}[/] ({level})\n[dim]{KINDS[kind]}[/]",
            "\n".join(examples),
        )
    return table


def write_findings(audit: Audit, path: Path) -> None:
    """Write every finding as a row of a CSV file, atomically."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Finding))
        writer.writerows(map(escape_formula, astuple(finding)) for finding in audit.findings)


def _escape_unprintable(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
