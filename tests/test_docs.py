"""The documentation says what the program does: help, Python, study files, commands and links are checked."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from scripts import write_cli_docs, write_experiment_docs
from scripts.write_cli_docs import list_commands

from changeling.cli import app
from changeling.studies.settings import load_study
from tests import helpers

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

# test_architecture.py applies the Python of one page to the source; the client of the other one needs a service
TESTED_ELSEWHERE = [ROOT / "docs" / "architecture.md", ROOT / "docs" / "serve.md"]


def read_blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def find_pages(language: str) -> list[Path]:
    return [page for page in PAGES if read_blocks(page, language)]


def list_benchmark_commands() -> list[list[str]]:
    """The words of each `python benchmarks/...` in a code block, from the file on."""
    lines = [line for page in PAGES for block in read_blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("python benchmarks/")]


def get_name(page: Path) -> str:
    return page.name


def test_cli_page_is_the_help_of_the_program() -> None:
    page = write_cli_docs.PATH.read_text(encoding="utf-8")
    assert page == write_cli_docs.render_page(), "run `python scripts/write_cli_docs.py`"


def test_experiments_page_matches_the_table_of_experiments() -> None:
    page = write_experiment_docs.PATH.read_text(encoding="utf-8")
    assert page == write_experiment_docs.render_page(), "run `python scripts/write_experiment_docs.py`"


@pytest.mark.network
@pytest.mark.parametrize("page", [page for page in find_pages("python") if page not in TESTED_ELSEWHERE], ids=get_name)
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(read_blocks(page, "python"))
    images = re.findall(r'"([^"\n]+\.(?:jpg|webp))"', code)
    for number, name in enumerate(images):
        if "gone" not in name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            helpers.natural(number, side=300).save(name)
    helpers.tiny_dataset(tmp_path / "cocofake", clusters=4)
    exec(compile(code, page.name, "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    for name in images:
        line = next(line for line in printed.splitlines() if line.startswith(name))
        assert re.search(r" (real|fake|unsure) [01]\.\d" if "gone" not in name else r" None None missing", line)


@pytest.mark.parametrize("page", find_pages("toml"), ids=get_name)
def test_toml_blocks_are_study_files(page: Path, tmp_path: Path) -> None:
    for block in read_blocks(page, "toml"):
        (tmp_path / "study.toml").write_text(block, encoding="utf-8")
        load_study(tmp_path / "study.toml")


@pytest.mark.parametrize("page", find_pages("sh"), ids=get_name)
def test_commands_in_sh_blocks_can_be_parsed(page: Path) -> None:
    for block in read_blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for piped in line.split("|"):
                words = shlex.split(piped, comments=True)
                if words[:1] == ["changeling"]:
                    parse_command(words[1:])


@pytest.mark.parametrize("words", list_benchmark_commands(), ids=" ".join)
def test_commands_of_benchmarks_can_be_parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is parsed by the benchmark's own parser, which then ends it."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_end(parser: argparse.ArgumentParser) -> argparse.Namespace:
        parse_args(parser)  # exits with 2 if there is no such option
        raise EOFError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(EOFError):
        importlib.import_module(words[0].removesuffix(".py").replace("/", ".")).main()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=get_name)
def test_commands_in_sentences_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for words in re.findall(r"`changeling ([a-z][^`]*)`", " ".join(prose.split())):
        names = [name for name, *_ in list_commands(typer.main.get_command(app))]
        assert re.split(r"[ |]", words)[0] in names, f"{page.name} names `changeling {words}`"


def parse_command(words: list[str]) -> None:
    """Parse a command as the program does, without running it. Raises UsageError if there is no such command."""
    name: str | None = "changeling"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "list_commands"):
        context = command.make_context(name, words)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=get_name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"`(?:python )?((?:scripts|benchmarks|docs|tests|src)/[\w/.-]+)`", text):
        assert (ROOT / target).exists(), f"{page.name} names {target}"
