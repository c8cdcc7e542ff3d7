"""The tables for other programs: CSV with every estimate, and LaTeX that compiles."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.errors import ReportError
from changeling.report.exports import write_exports, write_latex, write_tables_csv
from changeling.report.tables.latex import escape, format_latex
from changeling.report.tables.layout import lay_out
from changeling.results.result import Column, Result, Table
from tests import helpers
from tests.report.samples import number, table


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_result(*tables: Table) -> Result:
    return Result(experiment="probe", title="T", summary="S", settings={}, tables=tables)


def make_table(text: str) -> Table:
    """A table with one text as the name of every block, row, group and column."""
    columns = [Column(key=key, label=text, group=group) for key, group in (("a", text), ("b", f"{text} "))]
    cells = {"a": number(), "b": number(clusters=9)}
    return table([((text, text), cells)] * 2, ("Generator", "Backbone"), *columns)


def count_columns(line: str) -> int:
    """The number of columns that a row of LaTeX spans."""
    spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)


def list_rows(text: str) -> list[str]:
    """The rows of a LaTeX table."""
    inside = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in inside.splitlines() if re.search(r"\\\\(\[-\.5ex\])?$", line)]


def has_balanced_braces(text: str) -> bool:
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
        "experiment,table,Generator,Backbone,Trained on,Difference,Holm-adjusted p,Features,Facts,Between,"
        "group,column,value,low,high,clusters,images,paper,chance,paper_low,paper_high"
    )
    cell = full[0].tables[0].rows[0].cells["val_max"]
    assert rows[1] == {
        "experiment": "distances",
        "table": "distances",
        "Generator": "stable-diffusion-v1.4",
        "Backbone": "rn50-imagenet",
        "Trained on": "",
        "Features": "",
        "Facts": "",
        "Between": "",
        "Difference": "",
        "Holm-adjusted p": "",
        "group": "Validation",
        "column": "Max distance",
        "value": repr(cell.value),
        "low": repr(cell.low),
        "high": repr(cell.high),
        "clusters": "5000",
        "images": "30000",
        "paper": "0.2358",
        "chance": "",
        "paper_low": "",
        "paper_high": "",
    }
    assert {row["table"] for row in rows} == {made.key for one in full for made in one.tables}
    assert {row["paper"] for row in rows if row["table"] == "hidden"} == {""}


@given(st.text(st.characters()))
def test_any_name_is_read_back_from_the_csv_and_none_is_a_formula(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = write_tables_csv([make_result(make_table(name))], tmp_path_factory.getbasetemp() / "any.csv")
    spelled = name.encode("utf-8", "backslashreplace").decode()
    plain = spelled.removeprefix("'")
    for row in read(path):
        texts = [row["Generator"], row["Backbone"], row["column"]]
        assert {text.removeprefix("'") for text in texts} == {plain}
        assert row["group"].removeprefix("'") in (plain, f"{plain} ")
        assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in (*texts, row["group"]))


def test_each_table_has_a_latex_file(full: list[Result], tmp_path: Path) -> None:
    names = [path.relative_to(tmp_path).as_posix() for path in write_exports(full, tmp_path)]
    keys = ["distances", "probe", "transfer", "probe-differences", "retrieval", "disentangle", "hidden", "confounds"]
    keys += ["crossgen", "crossgen-auroc", "crossgen-balanced", "crossgen-left-out", "crossgen-differences"]
    assert names == ["tables.csv", *(f"latex/{key}.tex" for key in keys)]


def test_latex_has_the_papers_headers_numbers_and_intervals(full: list[Result]) -> None:
    made = full[2].tables[0]
    text = format_latex(made, "Table 3")
    cell = made.rows[0].cells["val_exact_1"]
    for shown in (
        r"\multicolumn{6}{c}{Validation} & \multicolumn{6}{c}{Test} \\",
        r"\cmidrule(lr){2-7}\cmidrule(lr){8-13}",
        r"\multicolumn{3}{c}{exact pair} & \multicolumn{3}{c}{intra-cluster}",
        r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}\cmidrule(lr){8-10}\cmidrule(lr){11-13}",
        "5,000 clusters, 30,000 images",
        f"clip-rn50 & {100 * cell.value:.2f} &",
        f"[{100 * cell.low:.2f}, {100 * cell.high:.2f}]",
        r"\itshape 31.33",
        r"R@1~$\uparrow$",
        escape(lay_out(made).paper),
        r"95~\% interval",
        r"\label{tab:retrieval}",
    ):
        assert shown in text


def test_all_rows_of_latex_have_the_width_of_the_table(studied: list[Result], full: list[Result]) -> None:
    for made in (made for one in (*studied, *full) for made in one.tables):
        text = format_latex(made)
        width = len(re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)[1])  # type: ignore[index]
        assert {count_columns(line) for line in list_rows(text)} == {width}
        assert has_balanced_braces(text)
        assert text.count(r"\begin") == text.count(r"\end")


def test_an_interval_without_an_end_is_left_out() -> None:
    column = Column(key="a", label="A")
    text = format_latex(table([(("x",), {"a": number().model_copy(update={"low": float("nan")})})], ("B",), column))
    assert "50.0" in text
    assert "nan" not in text
    assert "[, ]" not in text


def test_special_characters_of_latex_are_escaped() -> None:
    assert escape("a_b & 50 % of $x^2$ #1 {c} ~\\") == (
        r"a\_b \& 50 \% of \$x\textasciicircum{}2\$ \#1 \{c\} \textasciitilde{}\textbackslash{}"
    )
    assert escape("1–2 “so” naïve 日\nþ*[") == "1--2 ``so'' naïve {[U+65E5]} {[U+00FE]}{*}{[}"


@given(st.text(st.characters()))
def test_any_text_is_valid_latex(name: str) -> None:
    text = format_latex(make_table(name).model_copy(update={"title": name, "note": name}), name)
    assert has_balanced_braces(text)
    assert {count_columns(line) for line in list_rows(text)} == {len(re.findall("[lr]", text.split("@{}")[1]))}
    assert all(character.isprintable() or character == "\n" for character in text)


def test_an_export_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"tables\.csv: cannot be written"):
        write_exports([make_result(make_table("a"))], tmp_path / "file")
    with pytest.raises(ReportError, match=r"t\.tex: cannot be written"):
        write_latex([make_result(make_table("a"))], tmp_path / "file")


def test_latex_compiles(studied: list[Result], full: list[Result], tmp_path: Path) -> None:
    pdflatex = helpers.program("pdflatex", "texlive-latex-recommended")
    every = make_table("".join(map(chr, range(0x20, 0x180)))).model_copy(update={"key": "letters"})
    paths = [
        *write_latex(studied, tmp_path / "small"),
        *write_latex([*full, make_result(every)], tmp_path / "large"),
    ]
    inputs = "\n".join(rf"\input{{{path.relative_to(tmp_path).with_suffix('')}}}" for path in paths)
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(page, encoding="utf-8")
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, encoding="latin-1")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "all.log").read_text(encoding="latin-1")
