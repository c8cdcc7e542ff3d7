"""Evidence as text and as JSON."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from changeling.cli import app
from changeling.detect.detector import Verdict
from changeling.detect.evidence.evidence import Evidence, quote, shorten, summarize
from changeling.detect.evidence.inspect import FileEvidence, VerdictWithEvidence
from changeling.detect.evidence.output import write_inspected
from changeling.detect.formats import InspectFormat, VerdictFormat, check_evidence_format
from changeling.detect.output import build_table
from changeling.errors import ChangelingError
from tests.detect.evidence.test_generator_parameters import WEB_UI, save

HOSTILE = "\x1b[31m[bold]red[/bold]\u202e\n"
EVIDENCE = (
    Evidence(
        "content credentials", "invalid", f"Signed by {quote(HOSTILE)}.", None, "None.", "No.", {"title": HOSTILE}
    ),
    Evidence("digital source type", "absent", "No XMP packet."),
    Evidence("camera data", "unreadable", "Cannot be read: EXIF."),
    Evidence("generator parameters", "found", "Parameters of X.", "generated", "Strong.", "Easily.", {"seed": "7"}),
)
FILES: list[FileEvidence | VerdictWithEvidence] = [
    VerdictWithEvidence("a.png", "unsure", 0.5, "tiny", reason="between", evidence=EVIDENCE),
    VerdictWithEvidence(os.fsdecode(b"caf\xe9.png"), None, None, "tiny", "missing", "no such file"),
    FileEvidence("b.png", evidence=EVIDENCE[1:2]),
    FileEvidence(HOSTILE, "corrupt", HOSTILE),
]


def test_text_has_no_control_characters_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_inspected(FILES, InspectFormat.TEXT) == 2
    text = capsys.readouterr().out
    lines = [line.rstrip() for line in text.splitlines()]
    assert "\x1b" not in text
    assert "\u202e" not in text
    for line in (
        "a.png",
        "  Content credentials: invalid",
        '    Signed by "\\x1b[31m[bold]red[/bold]\\u202e".',
        "  Generator parameters: found, says that the image is generated",
        "    worth     Strong.",
        "    to forge  Easily.",
        "    seed      7",
        "caf\\xe9.png",
        "  missing: no such file",
        "  corrupt: \\x1b[31m[bold]red[/bold]\\u202e\\n",
    ):
        assert line in lines
    assert "Verdict: unsure (between), probability 0.500 of being generated." in " ".join(text.split())
    assert "Not found: digital source type. That proves nothing" in " ".join(text.split())


@pytest.mark.parametrize("format", [InspectFormat.JSON, InspectFormat.JSONL])
def test_json_has_the_verdict_and_all_evidence(format: InspectFormat, capsys: pytest.CaptureFixture[str]) -> None:
    write_inspected(FILES, format)
    text = capsys.readouterr().out
    assert text.isascii()
    rows = json.loads(text) if format is InspectFormat.JSON else [json.loads(line) for line in text.splitlines()]
    first = rows[0]
    evidence = tuple(Evidence(**item) for item in first.pop("evidence"))
    assert evidence == EVIDENCE
    assert Verdict(**first) == Verdict("a.png", "unsure", 0.5, "tiny", reason="between")
    assert rows[2] == {"path": "b.png", "status": "ok", "error": None, "evidence": rows[2]["evidence"]}
    assert [row["status"] for row in rows] == ["ok", "missing", "ok", "corrupt"]


def test_the_documentation_shows_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "detect.md").read_text(encoding="utf-8")
    block = re.search(r"^```console\n\$ changeling (.*?)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block
    monkeypatch.chdir(tmp_path)
    parameters = WEB_UI.replace(", <lora:detail:0.6>", "")
    Path("lighthouse.png").write_bytes(save({"parameters": parameters}))
    result = CliRunner().invoke(app, block[1].split(), env={"COLUMNS": "115"})
    assert [line.rstrip() for line in result.stdout.splitlines()] == [*block[2].splitlines(), ""]


def test_no_files_are_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_inspected([], InspectFormat.JSON) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_table_of_verdicts_has_the_evidence_in_a_few_words() -> None:
    table = build_table(FILES[:2])  # type: ignore[arg-type]
    assert list(table.columns[-1].cells) == [
        "content credentials: invalid; camera data: unreadable; generator parameters: generated",
        "no such file",
    ]
    assert summarize(EVIDENCE[1:2]) == ""
    signed = (
        Evidence("content credentials", "trusted signer", "", "captured"),
        Evidence("content credentials", "unknown signer", ""),
    )
    assert (
        summarize(signed)
        == "content credentials: captured (trusted signer); content credentials: found (unknown signer)"
    )


@pytest.mark.parametrize("format", list(VerdictFormat))
def test_tables_of_plain_values_have_no_place_for_evidence(format: VerdictFormat) -> None:
    if format in (VerdictFormat.CSV, VerdictFormat.PARQUET):
        with pytest.raises(ChangelingError, match=f"cannot be written as {format.value}; choose --format"):
            check_evidence_format(format)
    else:
        check_evidence_format(format)


@pytest.mark.parametrize(
    ("text", "limit", "short"), [("a\n b\0c", 300, "a b c"), ("abcdef", 5, "ab..."), ("a" * 10**7, 10, "aaaaaaa...")]
)
def test_texts_are_cut_to_one_line(text: str, limit: int, short: str) -> None:
    assert shorten(text, limit) == short


def test_how_to_install_a_missing_package_is_printed_once_for_all_files(capsys: pytest.CaptureFixture[str]) -> None:
    item = Evidence("content credentials", "unavailable", "Not read. Install it: pip install 'changeling[evidence]'")
    remote = Evidence(
        "content credentials", "unavailable", "They are elsewhere.", details={"address": "https://a.test"}
    )
    files = [FileEvidence(f"{number}.jpg", "ok", None, (item,)) for number in range(3)]
    write_inspected([*files, FileEvidence("remote.jpg", "ok", None, (remote,))], InspectFormat.TEXT)
    printed = capsys.readouterr().out
    assert printed.count("Not read: content credentials. A package is missing.") == 3
    assert printed.count("pip install 'changeling[evidence]'") == 1
    assert printed.rstrip().endswith("pip install 'changeling[evidence]'")
    assert "They are elsewhere." in printed
