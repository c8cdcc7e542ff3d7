"""Write docs/cli.md from the command line's own help; a test compares the two.

python scripts/write_cli_docs.py
"""

from __future__ import annotations

from pathlib import Path

import typer.main
from typer.testing import CliRunner

from changeling.cli import app

PATH = Path(__file__).parents[1] / "docs" / "cli.md"


def render() -> str:
    """The page: every command's help."""
    parts = ["# The command line\n\nWritten by `scripts/write_cli_docs.py` from the program's own help.\n"]
    for words in ([], *commands(typer.main.get_command(app), [])):
        ran = CliRunner().invoke(
            app, [*words, "--help"], prog_name="changeling", env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
        )
        title = " ".join(["changeling", *words])
        parts.append(f"## {title}\n\n```console\n$ {title} --help\n{ran.output.strip()}\n```\n")
    return "\n".join(parts)


def commands(group: object, above: list[str]) -> list[list[str]]:
    """The words of every command below a group."""
    found = []
    for name, command in getattr(group, "commands", {}).items():
        found += [[*above, name], *commands(command, [*above, name])]
    return found


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
