from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from changeling.detect.detector import Verdict
from changeling.detect.formats import VerdictFormat, resolve_format
from changeling.detect.output import (
    FIELDS,
    build_table,
    describe_other_files,
    escape_unprintable,
    format_summary,
    list_advice,
    write_verdicts,
)
from changeling.errors import ChangelingError

BYTES = os.fsdecode(b"caf\xe9.png")  # not UTF-8
VERDICTS = [
    Verdict("a.jpg", "real", 0.0625, "tiny"),
    Verdict("b,c \"d\".png", "fake", 1 - 1e-12, "tiny"),
    Verdict("two\nlines.png", "unsure", 0.5, "tiny", reason="between"),
    Verdict(BYTES, "fake", 0.75, "tiny"),
    Verdict("[red]ü.png", "real", 1e-300, "tiny"),
    Verdict("moving.png", "unsure", 0.7, "tiny", reason="unstable", lowest=0.125, highest=0.875),
    Verdict("", None, None, "tiny", "missing", "the path is empty"),
    Verdict("cut\x1b[2J.gif", None, None, "tiny", "truncated", "cannot be decoded: ends, \"early\"\x1b[2J"),
]  # fmt: skip
COUNTS = {"real": 2, "fake": 2, "unsure": 2, "missing": 1, "truncated": 1}
FORMATS = tuple(VerdictFormat)
TEXT_FORMATS = [format for format in FORMATS if format is not VerdictFormat.PARQUET]
ESCAPED = "caf\\xe9.png"  # how it is written in UTF-8 files


def test_the_first_fields_are_the_documented_ones() -> None:
    assert FIELDS[:9] == ("path", "label", "probability", "model", "status", "error", "reason", "lowest", "highest")


def test_jsonl_contains_every_verdict(tmp_path: Path) -> None:
    counts = write_verdicts(VERDICTS, VerdictFormat.JSONL, tmp_path / "v.jsonl")
    lines = (tmp_path / "v.jsonl").read_text(encoding="ascii").splitlines()
    assert [Verdict(**json.loads(line)) for line in lines] == VERDICTS
    assert list(json.loads(lines[0])) == list(FIELDS)
    assert os.fsencode(json.loads(lines[3])["path"]) == b"caf\xe9.png"
    assert counts == COUNTS


@pytest.mark.parametrize("count", [0, 1, len(VERDICTS)])
def test_json_is_one_list_with_every_verdict(count: int, tmp_path: Path) -> None:
    write_verdicts(VERDICTS[:count], VerdictFormat.JSON, tmp_path / "v.json")
    text = (tmp_path / "v.json").read_text(encoding="ascii")
    assert [Verdict(**entry) for entry in json.loads(text)] == VERDICTS[:count]
    assert text.endswith("]\n")


def test_csv_contains_every_verdict(tmp_path: Path) -> None:
    counts = write_verdicts(VERDICTS, VerdictFormat.CSV, tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(FIELDS)
    for row, verdict in zip(rows, VERDICTS, strict=True):
        texts = {name: "" if value is None else str(value) for name, value in asdict(verdict).items()}
        assert row == texts | {"path": ESCAPED if verdict.path == BYTES else verdict.path}
        assert not row["probability"] or float(row["probability"]) == verdict.probability
    assert counts == COUNTS


def test_parquet_contains_every_verdict(tmp_path: Path) -> None:
    counts = write_verdicts(VERDICTS, VerdictFormat.PARQUET, tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == list(FIELDS)
    for name in ("probability", "lowest", "highest"):
        assert str(table.schema.field(name).type) == "double"
    expected = [asdict(verdict) | {"path": ESCAPED if verdict.path == BYTES else verdict.path} for verdict in VERDICTS]
    assert table.to_pylist() == expected
    assert counts == COUNTS


def test_parquet_has_the_same_schema_if_all_files_are_unreadable(tmp_path: Path) -> None:
    write_verdicts(VERDICTS[6:], VerdictFormat.PARQUET, tmp_path / "none.parquet")
    write_verdicts(VERDICTS, VerdictFormat.PARQUET, tmp_path / "all.parquet")
    assert pq.read_schema(tmp_path / "none.parquet") == pq.read_schema(tmp_path / "all.parquet")


def test_a_table_contains_no_control_characters(tmp_path: Path) -> None:
    write_verdicts(VERDICTS, VerdictFormat.TABLE, tmp_path / "v.txt")
    text = (tmp_path / "v.txt").read_text(encoding="utf-8")
    for shown in ("0.062", "two\\nlines.png", ESCAPED, "[red]ü.png", "truncated", "the path is empty"):
        assert shown in text
    assert re.search(r"0\.500 +unsure: between +two", text)
    assert re.search(r"0\.700 \(0\.125 to 0\.875\) +unsure: unstable +moving", text)
    assert "\x1b" not in text
    assert build_table(VERDICTS).row_count == len(VERDICTS)


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_verdicts_are_written_to_standard_output_if_there_is_no_output(
    format: VerdictFormat, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = write_verdicts(VERDICTS, format, None)
    write_verdicts(VERDICTS, format, tmp_path / "file")
    with (tmp_path / "file").open(encoding="utf-8", newline="") as file:
        assert capsys.readouterr().out == file.read()
    assert counts == COUNTS


def test_json_lines_are_written_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    line_counts: list[int] = []

    def yield_verdicts() -> Iterator[Verdict]:
        for verdict in VERDICTS:
            yield verdict
            line_counts.append(len(capsys.readouterr().out.splitlines()))

    write_verdicts(yield_verdicts(), VerdictFormat.JSONL, None)
    assert line_counts == [1] * len(VERDICTS)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("v.json", VerdictFormat.JSON),
        ("v.jsonl", VerdictFormat.JSONL),
        ("v.csv", VerdictFormat.CSV),
        ("v.CSV", VerdictFormat.CSV),
        ("a.json/v.parquet", VerdictFormat.PARQUET),
    ],
)
def test_the_suffix_of_the_output_sets_the_format(name: str, format: VerdictFormat) -> None:
    assert resolve_format(None, Path(name)) is format


def test_the_requested_format_overrides_the_suffix_and_a_table_is_the_default() -> None:
    assert resolve_format(VerdictFormat.TABLE, Path("v.txt")) is VerdictFormat.TABLE
    assert resolve_format(VerdictFormat.CSV, Path("v.json")) is VerdictFormat.CSV
    assert resolve_format(VerdictFormat.JSON, None) is VerdictFormat.JSON
    assert resolve_format(None, None) is VerdictFormat.TABLE


@pytest.mark.parametrize(
    ("format", "output", "message"),
    [
        (
            None,
            Path("v.txt"),
            "--output v.txt: unknown suffix '.txt'; use .json, .jsonl, .csv or .parquet, or choose --format",
        ),
        (
            None,
            Path("v.xlsx"),
            "--output v.xlsx: unknown suffix '.xlsx'; use .json, .jsonl, .csv or .parquet (Excel imports .csv), or "
            "choose --format",
        ),
        (None, Path("verdicts"), "--output verdicts: no suffix; use .json"),
        (None, Path(), "--output '.' is not a file to write"),
        (VerdictFormat.CSV, Path(), "--output '.' is not a file to write"),
        (VerdictFormat.PARQUET, None, "name a file with --output"),
    ],
)
def test_an_unusable_output_is_an_error(format: VerdictFormat | None, output: Path | None, message: str) -> None:
    with pytest.raises(ChangelingError, match=re.escape(message)) as caught:
        resolve_format(format, output)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_an_output_is_written_atomically(format: VerdictFormat, exception: type[BaseException], tmp_path: Path) -> None:
    def interrupted() -> Iterator[Verdict]:
        yield from VERDICTS
        raise exception

    old = tmp_path / "old"
    old.write_text("old content")
    for output in (old, tmp_path / "new"):
        with pytest.raises(exception):
            write_verdicts(interrupted(), format, output)
    assert old.read_text() == "old content"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("format", FORMATS)
def test_an_output_is_replaced_and_its_folder_created(format: VerdictFormat, tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "verdicts"
    write_verdicts(VERDICTS[:1], format, output)
    first = output.read_bytes()
    write_verdicts(VERDICTS, format, output)
    assert output.read_bytes() != first
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("format", FORMATS)
def test_an_output_that_cannot_be_written_is_an_error(format: VerdictFormat, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "folder", tmp_path / "file" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(ChangelingError, match="cannot write"):
            write_verdicts(VERDICTS, format, output)
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
def test_the_summary_counts_labels_and_errors(counts: dict[str, int], line: str) -> None:
    assert format_summary(Counter(counts)) == line


@pytest.mark.parametrize(
    ("path", "shown"),
    [("a b.png", "a b.png"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("ü\u202e", "ü\\u202e"), (BYTES, ESCAPED)],
)
def test_unusual_characters_are_escaped(path: str, shown: str) -> None:
    assert escape_unprintable(path) == shown


def test_csv_is_quoted_as_in_rfc_4180(tmp_path: Path) -> None:
    write_verdicts(VERDICTS[1:3], VerdictFormat.CSV, tmp_path / "v.csv")
    data = (tmp_path / "v.csv").read_bytes().decode()
    assert data.splitlines()[1].startswith('"b,c ""d"".png",fake,')
    assert list(csv.reader(StringIO(data)))[2][0] == "two\nlines.png"


def test_the_first_files_that_are_left_out_are_named() -> None:
    paths = ["a.pdf", "b.txt", "c\x1b.mov", "d.doc", "e.zip"]
    assert describe_other_files(paths[:1]) == "1 file without the suffix of an image was left out: a.pdf"
    assert describe_other_files(paths) == (
        "5 files without the suffix of an image were left out: a.pdf, b.txt, c\\x1b.mov and 2 more"
    )


def test_advice_is_only_for_what_was_found() -> None:
    assert list_advice(Counter(real=3, fake=1, truncated=1)) == []
    (unsure,) = list_advice(Counter(unsure=1))
    (missing,) = list_advice(Counter(missing=2))
    assert "changeling inspect" in unsure
    assert "quotes" in missing
