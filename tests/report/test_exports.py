"""The tables for other programs: what is written is what was measured, and LaTeX can set it."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.errors import ReportError
from changeling.experiments.result import Column, Estimate, Result, Row, Table
from changeling.report.exports import write_exports, write_latex, write_tables_csv
from changeling.report.latex import escape, latex_table
from tests import helpers
from tests.report import samples


@pytest.fixture(scope="module")
def full() -> list[Result]:
    return samples.full_study(8)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(value: float = 0.5, **changes: object) -> Estimate:
    cell = {"value": value, "low": value - 0.1, "high": value + 0.1, "clusters": 12, "images": 72}
    return Estimate.model_validate(cell | changes)


def result(*tables: Table, experiment: str = "probe") -> Result:
    return Result(experiment=experiment, title="T", summary="S", settings={}, tables=tables)


def table(name: str = "a", key: str = "t", **changes: object) -> Table:
    column = Column(key="c", label="Overall", group="Test")
    row = Row(labels={"Backbone": name}, cells={"c": number()})
    made = {"key": key, "title": "T", "labels": ("Backbone",), "columns": (column,), "rows": (row,)}
    return Table.model_validate(made | changes)


def cells(line: str) -> int:
    """How many columns a row of LaTeX spans."""
    spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)


def body(text: str) -> list[str]:
    """The rows of a table of LaTeX."""
    inside = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in inside.splitlines() if re.search(r"\\\\(\[-\.5ex\])?$", line)]


def balanced(text: str) -> bool:
    depth = 0
    for mark in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if depth < 0:
            return False
    return depth == 0


def test_every_estimate_is_a_row_with_all_its_digits(full: list[Result], tmp_path: Path) -> None:
    rows = read(write_tables_csv(full, tmp_path / "tables.csv"))
    assert len(rows) == sum(len(row.cells) for one in full for made in one.tables for row in made.rows)
    assert ",".join(rows[0]) == (
        "experiment,table,Generator,Backbone,group,column,value,low,high,clusters,images,paper"
    )
    cell = full[0].tables[0].rows[0].cells["val_max"]
    assert rows[1] == {
        "experiment": "distances",
        "table": "distances",
        "Generator": "stable-diffusion-v1.4",
        "Backbone": "rn50-imagenet",
        "group": "Validation",
        "column": "Max distance",
        "value": repr(cell.value),
        "low": repr(cell.low),
        "high": repr(cell.high),
        "clusters": "5000",
        "images": "30000",
        "paper": "0.2358",
    }
    assert {row["table"] for row in rows} == {"distances", "probe", "retrieval", "disentangle"}


def test_what_is_not_there_is_empty_and_names_never_clash(tmp_path: Path) -> None:
    row = Row(labels={"value": "x"}, cells={"c": number(float("nan"))})
    rows = read(write_tables_csv([result(table(labels=("value",), rows=(row,)))], tmp_path / "t.csv"))
    assert (rows[0]["label value"], rows[0]["value"], rows[0]["paper"]) == ("x", "", "")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_label_comes_back_from_the_csv(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = write_tables_csv([result(table(name))], tmp_path_factory.getbasetemp() / "any.csv")
    assert [row["Backbone"] for row in read(path)] == [name]


def test_a_label_that_is_no_text_is_spelled_out(tmp_path: Path) -> None:
    made = write_exports([result(table("caf\udce9"))], tmp_path)
    assert all(rb"\udce9" in path.read_bytes() or b"U+DCE9" in path.read_bytes() for path in made)


def test_each_table_is_a_file_of_latex(full: list[Result], tmp_path: Path) -> None:
    written = write_exports(full, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "tables.csv",
        "latex/distances.tex",
        "latex/probe.tex",
        "latex/retrieval.tex",
        "latex/disentangle.tex",
    ]


def test_latex_has_the_papers_headers_numbers_and_intervals(full: list[Result]) -> None:
    made = full[2].tables[0]
    text = latex_table(made, "retrieval", "Table 3")
    cell = made.rows[0].cells["val_exact_1"]
    for shown in (
        r"\multicolumn{6}{c}{Validation} & \multicolumn{6}{c}{Test} \\",
        r"\cmidrule(lr){2-7}\cmidrule(lr){8-13}",
        r"\multicolumn{3}{c}{exact pair} & \multicolumn{3}{c}{intra-cluster}",
        r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(lr){8-10}\cmidrule(lr){11-13}",
        "5,000 clusters, 25,000 images",
        f"clip-rn50 & {100 * cell.value:.2f} &",
        f"[{100 * cell.low:.2f}, {100 * cell.high:.2f}]",
        r"\itshape 31.33",
        r"R@1~$\uparrow$",
        "45 of 48 intervals hold the paper's value.",
        r"95~\% interval",
        r"\label{tab:retrieval}",
    ):
        assert shown in text


def test_all_rows_of_latex_are_as_wide_as_the_table(full: list[Result]) -> None:
    uneven = Row(labels={"Backbone": "b"}, cells={"c": number(clusters=9)})
    counted = table(rows=(*table().rows, uneven), labels=("Backbone", "Layer"))
    for made in (*(one.tables[0] for one in full if one.tables), counted):
        text = latex_table(made, "t")
        width = len(re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)[1])  # type: ignore[index]
        assert {cells(line) for line in body(text)} == {width}
        assert balanced(text)
        assert text.count(r"\begin") == text.count(r"\end")
        assert set(re.findall(r"\\(\w+rule|addlinespace)", text)) <= {
            "toprule", "midrule", "bottomrule", "cmidrule", "addlinespace",
        }  # fmt: skip


def test_what_latex_would_read_as_its_own_is_escaped() -> None:
    assert escape("a_b & 50 % of $x^2$ #1 {c} ~\\") == (
        r"a\_b \& 50 \% of \$x\textasciicircum{}2\$ \#1 \{c\} \textasciitilde{}\textbackslash{}"
    )
    assert escape("1–2 “so” naïve 日\n*[") == "1--2 ``so'' naïve {[U+65E5]} {*}{[}"


@given(st.text())
def test_any_text_can_be_set(name: str) -> None:
    text = latex_table(table(name, title=name, note=name, labels=(name,)), "t")
    assert balanced(text)
    assert {cells(line) for line in body(text)} == {2}
    assert all(character.isprintable() or character == "\n" for character in text)


def test_tables_that_share_a_key_have_files_of_their_own(tmp_path: Path) -> None:
    results = [result(table(), table(key="../x y")), result(table(), table(), experiment="other")]
    written = write_latex(results, tmp_path / "latex")
    assert [path.name for path in written] == ["probe-t.tex", "x-y.tex", "other-t.tex", "other-t-2.tex"]
    assert all(path.parent == tmp_path / "latex" and path.exists() for path in written)
    assert r"\label{tab:other-t-2}" in written[-1].read_text(encoding="utf-8")


def test_an_export_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"tables\.csv: cannot be written"):
        write_exports([result(table())], tmp_path / "file")
    with pytest.raises(ReportError, match=r"t\.tex: cannot be written"):
        write_latex([result(table())], tmp_path / "file")


def test_latex_sets_them(full: list[Result], tmp_path: Path) -> None:
    pdflatex = helpers.program("pdflatex", "texlive-latex-recommended")
    write_latex(full, tmp_path)
    inputs = "\n".join(rf"\input{{{path.stem}}}" for path in sorted(tmp_path.glob("*.tex")))
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(page, encoding="utf-8")
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
