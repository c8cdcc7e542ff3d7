"""The documents say what the program does: help, Python and commands are checked against it."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from scripts.write_cli_docs import PATH, render

from changeling.cli import app
from tests import helpers

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_cli_page_is_the_programs_own_help() -> None:
    assert PATH.read_text(encoding="utf-8") == render(), "run scripts/write_cli_docs.py"


@pytest.mark.network
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_in_the_documents_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        helpers.natural(number, side=300).save(tmp_path / "pictures" / f"{number}.jpg")
    helpers.tiny_dataset(tmp_path / "cocofake")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)  # noqa: S102


def test_commands_in_the_documents_exist() -> None:
    checked = 0
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("changeling "):
                    check(shlex.split(line, comments=True)[1:], line)
                    checked += 1
    assert checked >= 8


def check(words: list[str], line: str) -> None:
    """Parse a command as click would, without running it."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"{line!r} names no command"
        assert words[0] in command.commands, f"{line!r}: there is no command {words[0]}"
        command = command.commands[words.pop(0)]
    command.make_context("changeling", words, resilient_parsing=False)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_and_files_named_in_the_documents_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"`((?:scripts|benchmarks|docs|tests|src)/[\w/.-]+)`", text):
        assert (ROOT / target).exists(), f"{page.name} names {target}"
