"""Write docs/cli.md from the help of the command line; a test compares the two.

python scripts/write_cli_docs.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from changeling.cli import app

PATH = Path(__file__).parents[1] / "docs" / "cli.md"


def render_page() -> str:
    """The page: the help of every command."""
    sections = ["# The command line\n\nWritten by `scripts/write_cli_docs.py` from the help of the program.\n"]
    for words in ([], *list_commands(typer.main.get_command(app))):
        result = CliRunner().invoke(
            app, [*words, "--help"], prog_name="changeling", env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
        )
        title = " ".join(["changeling", *words])
        sections.append(f"## {title}\n\n```console\n$ {title} --help\n{result.output.strip()}\n```\n")
    return "\n".join(sections)


def list_commands(group: Any, parents: tuple[str, ...] = ()) -> list[list[str]]:
    """The words of every command of a group and of the groups in it."""
    if not hasattr(group, "list_commands"):
        return []
    context = typer.Context(group)
    found = []
    for name in group.list_commands(context):
        found += [[*parents, name], *list_commands(group.get_command(context, name), (*parents, name))]
    return found


if __name__ == "__main__":
    PATH.write_text(render_page(), encoding="utf-8")
