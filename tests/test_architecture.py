"""docs/architecture.md names every module, and its examples of what can be added work as they stand there."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "changeling"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# a block of Python that begins with a comment: which file it changes, and where
EXAMPLE = re.compile(r"^```python\n# (src/changeling/\S+), ([^\n]+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def read_section(title: str) -> str:
    """The text below a heading, up to the next heading of the same level."""
    level, _, _ = title.partition(" ")
    _, found, rest = PAGE.partition(f"\n{title}\n")
    assert found, f"the page has no heading {title!r}"
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def list_modules() -> list[str]:
    """Every module of the package, relative to it; of a package's __init__ its folder."""
    paths = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    return sorted({path.removesuffix("__init__.py") or "__init__.py" for path in paths})


def list_described_modules() -> list[str]:
    """The folders and modules that have a line in the page: a heading or an item of a list that begins with it."""
    section = read_section("## Folders and files")
    folders = re.findall(r"^### `([\w/]+/)`", section, re.MULTILINE)
    return sorted(folders + re.findall(r"^- `([\w/]+\.py)`: ", section, re.MULTILINE))


def test_every_module_is_described_once_and_every_described_module_exists() -> None:
    assert list_described_modules() == list_modules()


def test_modules_stand_below_the_heading_of_their_folder() -> None:
    for part in read_section("## Folders and files").split("\n### ")[1:]:
        heading, _, items = part.partition("\n")
        folder = re.match(r"`([\w/]+/)`", heading)
        for module in re.findall(r"^- `([\w/]+\.py)`: ", items, re.MULTILINE):
            assert str(Path(module).parent) == (folder[1].rstrip("/") if folder else ".")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:src|tests|docs|scripts|benchmarks)/[^`\s]*)`", PAGE))))
def test_files_that_the_page_names_exist(path: str) -> None:
    examples = {file for file, place, _ in EXAMPLE.findall(PAGE) if place == "a new module"}
    assert (ROOT / path).exists() or path in examples


def test_layers_are_those_of_import_linter() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    block = re.search(r"^```text\n(cli\n.*?)^```", read_section("## Layers"), re.DOTALL | re.MULTILINE)
    assert block
    assert block[1].splitlines() == [layer.replace("changeling.", "") for layer in layers]


@pytest.fixture(scope="module")
def extended_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, to which every example of the page was applied and nothing else."""
    source = tmp_path_factory.mktemp("extended") / "src"
    shutil.copytree(PACKAGE, source / "changeling", ignore=shutil.ignore_patterns("__pycache__"))
    for file, place, code in EXAMPLE.findall(read_section("## How to add")):
        apply_example(source.parent / file, place, code)
    return source


def apply_example(path: Path, place: str, code: str) -> None:
    """Change a file as an example of the page says."""
    if place == "a new module":
        assert not path.exists(), f"{path} exists"
        path.write_text(code, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    if place == "at the end":
        changed = f"{text}\n\n{code}"
    elif place == "with the imports":
        imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        lines = text.splitlines(keepends=True)
        changed = "".join([*lines[: imports[-1].end_lineno], code, *lines[imports[-1].end_lineno or 0 :]])
    else:
        name = re.fullmatch(r"in (\w+)", place)
        assert name, f"unknown place {place!r}"
        changed = insert_into_table(text, name[1], code.strip())
    path.write_text(changed, encoding="utf-8")


def insert_into_table(text: str, name: str, entry: str) -> str:
    """Add an entry at the end of the list, tuple, set, dict or Literal that a module assigns to a name."""
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and [getattr(t, "id", "") for t in targets] == [name]:
            before = "".join(text.splitlines(keepends=True)[: (node.end_lineno or 0) - 1])
            end = len(before) + (node.end_col_offset or 0) - 1  # of the closing bracket; tables are in ASCII
            table = text[:end].rstrip()
            return f"{table}{'' if table.endswith((',', '{', '[', '(')) else ','} {entry}{text[end:]}"
    raise AssertionError(f"there is no table {name}")


def run_extended(source: Path, code: str, folder: Path) -> str:
    """Run Python on the extended source; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
