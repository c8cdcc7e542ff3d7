from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest

from changeling.detect.detector import Verdict
from changeling.detect.output import FIELDS, Format, as_table, deliver, printable, summarise
from changeling.errors import ChangelingError

BYTES = os.fsdecode(b"caf\xe9.png")  # no UTF-8
VERDICTS = [
    Verdict("a.jpg", "real", 0.0625, "tiny"),
    Verdict("b,c \"d\".png", "fake", 1 - 1e-12, "tiny"),
    Verdict("two\nlines.png", "unsure", 0.5, "tiny"),
    Verdict(BYTES, "fake", 0.75, "tiny"),
    Verdict("[red]ü.png", "real", 1e-300, "tiny"),
    Verdict("", None, None, "tiny", "missing", "the path is empty"),
    Verdict("cut\x1b[2J.gif", None, None, "tiny", "truncated", "cannot be decoded: ends, \"early\"\x1b[2J"),
]  # fmt: skip
COUNTS = {"real": 2, "fake": 2, "unsure": 1, "missing": 1, "truncated": 1}
FORMATS: tuple[Format, ...] = get_args(Format)
ESCAPED = "caf\\xe9.png"  # what stands for those bytes where only UTF-8 may stand


def test_the_fields_are_those_of_the_contract() -> None:
    assert FIELDS[:6] == ("path", "label", "probability", "model", "status", "error")


def test_jsonl_brings_every_verdict_back(tmp_path: Path) -> None:
    counts = deliver(VERDICTS, "jsonl", tmp_path / "v.jsonl")
    lines = (tmp_path / "v.jsonl").read_text(encoding="ascii").splitlines()
    assert [Verdict(**json.loads(line)) for line in lines] == VERDICTS
    assert list(json.loads(lines[0])) == list(FIELDS)
    assert os.fsencode(json.loads(lines[3])["path"]) == b"caf\xe9.png"
    assert counts == COUNTS


def test_csv_brings_every_verdict_back(tmp_path: Path) -> None:
    counts = deliver(VERDICTS, "csv", tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(FIELDS)
    for row, verdict in zip(rows, VERDICTS, strict=True):
        told = {name: "" if value is None else str(value) for name, value in asdict(verdict).items()}
        assert row == told | {"path": ESCAPED if verdict.path == BYTES else verdict.path}
        assert not row["probability"] or float(row["probability"]) == verdict.probability
    assert counts == COUNTS


def test_parquet_brings_every_verdict_back(tmp_path: Path) -> None:
    counts = deliver(VERDICTS, "parquet", tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == list(FIELDS)
    assert str(table.schema.field("probability").type) == "double"
    expected = [asdict(verdict) | {"path": ESCAPED if verdict.path == BYTES else verdict.path} for verdict in VERDICTS]
    assert table.to_pylist() == expected
    assert counts == COUNTS


def test_parquet_of_unreadable_files_alone_has_the_same_columns(tmp_path: Path) -> None:
    deliver(VERDICTS[5:], "parquet", tmp_path / "none.parquet")
    deliver(VERDICTS, "parquet", tmp_path / "all.parquet")
    assert pq.read_schema(tmp_path / "none.parquet") == pq.read_schema(tmp_path / "all.parquet")


def test_a_table_is_for_eyes_and_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    deliver(VERDICTS, "table", tmp_path / "v.txt")
    text = (tmp_path / "v.txt").read_text(encoding="utf-8")
    for shown in ("0.062", "two\\nlines.png", ESCAPED, "[red]ü.png", "truncated", "the path is empty"):
        assert shown in text
    assert "\x1b" not in text
    assert as_table(VERDICTS).row_count == len(VERDICTS)


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_without_an_output_standard_output_is_written(
    form: Format, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = deliver(VERDICTS, form, None)
    deliver(VERDICTS, form, tmp_path / "same")
    with (tmp_path / "same").open(encoding="utf-8", newline="") as file:
        assert capsys.readouterr().out == file.read()
    assert counts == COUNTS


def test_json_lines_come_as_the_verdicts_do(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def slow() -> Iterator[Verdict]:
        for verdict in VERDICTS:
            yield verdict
            seen.append(len(capsys.readouterr().out.splitlines()))

    deliver(slow(), "jsonl", None)
    assert seen == [1] * len(VERDICTS)


def test_parquet_without_an_output_is_an_error() -> None:
    with pytest.raises(ChangelingError, match="--output"):
        deliver(VERDICTS, "parquet", None)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mistake", [ValueError, KeyboardInterrupt])
def test_an_output_is_written_whole_or_not_at_all(form: Format, mistake: type[BaseException], tmp_path: Path) -> None:
    def interrupted() -> Iterator[Verdict]:
        yield from VERDICTS
        raise mistake

    old = tmp_path / "old"
    old.write_text("what was there")
    for output in (old, tmp_path / "new"):
        with pytest.raises(mistake):
            deliver(interrupted(), form, output)
    assert old.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_is_replaced_and_its_folder_made(form: Format, tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "verdicts"
    deliver(VERDICTS[:1], form, output)
    first = output.read_bytes()
    deliver(VERDICTS, form, output)
    assert output.read_bytes() != first
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_that_cannot_be_written_is_an_error(form: Format, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "folder", tmp_path / "file" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(ChangelingError, match="cannot write"):
            deliver(VERDICTS, form, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({}, "0 images: 0 real, 0 fake, 0 unsure"),
        ({"real": 2, "fake": 1}, "3 images: 2 real, 1 fake, 0 unsure"),
        (
            {"real": 1, "missing": 1, "corrupt": 2},
            "4 images: 1 real, 0 fake, 0 unsure, 3 unreadable (2 corrupt, 1 missing)",
        ),
    ],
)
def test_the_summary_counts_all(counts: dict[str, int], line: str) -> None:
    assert summarise(Counter(counts)) == line


@pytest.mark.parametrize(
    ("path", "shown"),
    [("a b.png", "a b.png"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("ü\u202e", "ü\\u202e"), (BYTES, ESCAPED)],
)
def test_printable(path: str, shown: str) -> None:
    assert printable(path) == shown


def test_csv_is_quoted_as_the_standard_says(tmp_path: Path) -> None:
    deliver(VERDICTS[1:3], "csv", tmp_path / "v.csv")
    data = (tmp_path / "v.csv").read_bytes().decode()
    assert data.splitlines()[1].startswith('"b,c ""d"".png",fake,')
    assert list(csv.reader(StringIO(data)))[2][0] == "two\nlines.png"
