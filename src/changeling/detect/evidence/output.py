"""Write evidence for people, as panels, and for programs, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from changeling.detect.detector import Verdict
from changeling.detect.evidence.evidence import Evidence, State
from changeling.detect.evidence.inspect import FileEvidence, VerdictWithEvidence
from changeling.detect.formats import InspectFormat
from changeling.detect.output import COLOURS, escape_unprintable

if TYPE_CHECKING:
    from rich.console import RenderableType

Inspected = FileEvidence | VerdictWithEvidence
_STATE_COLOURS: dict[State, str] = {
    "trusted signer": "green",
    "unknown signer": "yellow",
    "invalid": "red",
    "found": "cyan",
}
_SUGGESTIONS = {
    "generated": "says that the image is generated",
    "partly generated": "says that the image is partly generated",
    "captured": "says that a camera captured the image",
}


def write_inspected(files: Iterable[Inspected], format: InspectFormat) -> int:
    """Write files to standard output, each as soon as it is inspected. Returns how many of them could be read."""
    readable = 0

    def count_readable() -> Iterable[Inspected]:
        nonlocal readable
        for file in files:
            readable += file.status == "ok"
            yield file

    _WRITERS[format](count_readable())
    return readable


def _write_text(files: Iterable[Inspected]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    notes: dict[str, None] = {}  # how to install missing packages, once for all files
    for file in files:
        console.print(_render_file(file))
        notes.update(
            {f"{item.kind.capitalize()}: {item.summary}": None for item in filter(_needs_package, file.evidence)}
        )
    for note in notes:
        console.print(note, markup=False)


def _write_json(files: Iterable[Inspected]) -> None:
    """Write one JSON list, an object a line."""
    separator = "[\n"
    for file in files:
        sys.stdout.write(separator + json.dumps(asdict(file)))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_jsonl(files: Iterable[Inspected]) -> None:
    """Write one JSON object a line."""
    for file in files:
        sys.stdout.write(json.dumps(asdict(file)) + "\n")
        sys.stdout.flush()


_WRITERS: dict[InspectFormat, Callable[[Iterable[Inspected]], None]] = {
    InspectFormat.TEXT: _write_text,
    InspectFormat.JSON: _write_json,
    InspectFormat.JSONL: _write_jsonl,
}


def _needs_package(item: Evidence) -> bool:
    """Whether evidence was not read because a package is missing; details say why it was not read otherwise."""
    return item.state == "unavailable" and not item.details


def _render_file(file: Inspected) -> RenderableType:
    """Return a file as blocks of text: its path, its verdict, what was found, and what was not."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    blocks: list[RenderableType] = [Text(escape_unprintable(file.path), "bold underline")]
    if file.error is not None:
        blocks.append(Text(f"{file.status}: {escape_unprintable(file.error)}", "magenta"))
    elif isinstance(file, Verdict):
        blocks.append(_render_verdict(file))
    blocks += [_render_evidence(item) for item in file.evidence if item.state != "absent" and not _needs_package(item)]
    if absent := [item.kind for item in file.evidence if item.state == "absent"]:
        blocks.append(Text(f"Not found: {', '.join(absent)}. That proves nothing: most websites remove it.", "dim"))
    if unread := [item.kind for item in file.evidence if _needs_package(item)]:
        blocks.append(Text(f"Not read: {', '.join(unread)}. A package is missing.", "dim"))
    first, *others = blocks
    return Group(first, *(Padding(block, (0, 0, 1, 2), expand=False) for block in others))


def _render_verdict(verdict: Verdict) -> RenderableType:
    from rich.text import Text

    label = verdict.label or verdict.status
    return Text.assemble(
        ("Verdict: ", "bold"),
        (label, f"bold {COLOURS.get(label, 'magenta')}"),
        f" ({verdict.reason})" if verdict.reason else "",
        f", probability {verdict.probability:.3f} of being generated. From the pixels alone: what the file says about "
        "itself, below, has no part in it.",
    )


def _render_evidence(item: Evidence) -> RenderableType:
    """Return a heading, what was found, what it is worth, how it is forged, and the details."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    heading = Text.assemble(
        (f"{item.kind.capitalize()}: ", "bold"),
        (item.state, f"bold {_STATE_COLOURS.get(item.state, 'magenta')}"),
        (f", {_SUGGESTIONS[item.suggests]}" if item.suggests else "", "bold"),
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (("worth", item.worth), ("to forge", item.forging), *item.details.items()):
        if text:
            table.add_row(name, Text(escape_unprintable(text)))
    blocks = (Text(escape_unprintable(item.summary)), table)
    return Group(heading, *(Padding(block, (0, 0, 0, 2), expand=False) for block in blocks))
