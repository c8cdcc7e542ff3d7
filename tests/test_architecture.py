"""docs/architecture.md names every module, and its examples of what can be added work as they stand there."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset
from changeling.results.result import Result
from tests import helpers

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
    """Add an entry at the end of the table that a module assigns to a name, or that a comprehension iterates over."""
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if [getattr(target, "id", "") for target in targets] == [name]:
            table = getattr(node, "value", None)
            if isinstance(table, ast.DictComp):
                table = table.generators[0].iter
            assert isinstance(table, ast.Dict | ast.Tuple | ast.List | ast.Subscript), f"{name} is not a table"
            lines = text.splitlines(keepends=True)
            end = sum(map(len, lines[: (table.end_lineno or 0) - 1])) + (table.end_col_offset or 0) - 1
            before = text[:end].rstrip()
            comma = "" if before.endswith((",", "{", "[", "(")) else ","
            return f"{before}{comma}\n    {entry}\n{text[end:]}"
    raise AssertionError(f"there is no table {name}")


# what is run on the extended source, in a process of its own: each step prints what the test looks at
USE = """
import json
from pathlib import Path

from typer.testing import CliRunner

from changeling.backbones.registry import ALIASES, check_backbone
from changeling.cli import app
from changeling.evaluation.registry import parse_specs
from changeling.generators.families import load_generator
from changeling.studies.settings import load_study


def call(*words):
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


check_backbone("vit-b16-imagenet")
(generator,) = load_study(Path("study.toml")).generators.values()
images = load_generator(generator, Path()).draw([], [1, 1, 2])
call("import", "photographs", "photographs", "--output", "coco")
call("export", "paths", "coco", "--output", "exported")
found = {
    "detector": parse_specs(["brightness"])[0].kind,
    "dim": ALIASES["vit-b16-imagenet"].dim,
    "images": [[image.size, image.tobytes().hex()] for image in images],
    "count": call("count", "coco"),
    "init": call("init", "default.toml") and Path("default.toml").read_text(),
    "plan": call("study", "study.toml", "--dry-run"),
    "study": call("study", "study.toml"),
}
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def used(extended_source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder in which all examples were used, and what they printed."""
    folder = tmp_path_factory.mktemp("used")
    (folder / "photographs").mkdir()
    for number in range(3):
        helpers.natural(number, side=48).save(folder / "photographs" / f"{number}.png")
    (folder / "study.toml").write_text(
        'dataset = "bundled:true-clusters"\nexperiments = ["square"]\n'
        '[generators.static]\nkind = "noise"\nmodel = "none"\nsize = 8\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(extended_source), "COLUMNS": "200"}
    process = subprocess.run(
        [sys.executable, "-c", USE], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return folder, json.loads((folder / "found.json").read_text())


def test_every_list_has_an_example() -> None:
    for section in read_section("## How to add").split("\n### ")[1:]:
        assert EXAMPLE.search(section), section.splitlines()[0]


def test_examples_follow_the_rules_of_the_linter(extended_source: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", extended_source.parent)
    command = [sys.executable, "-m", "ruff", "check", "--ignore", "I001", "--no-cache", "src"]
    process = subprocess.run(command, cwd=extended_source.parent, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout


def test_alias_of_the_page_names_a_backbone(used: tuple[Path, dict[str, Any]]) -> None:
    assert used[1]["dim"] == 768


def test_generator_of_the_page_draws_from_seeds(used: tuple[Path, dict[str, Any]]) -> None:
    first, again, other = used[1]["images"]
    assert first[0] == [8, 8]
    assert first == again != other


def test_detector_of_the_page_is_a_kind(used: tuple[Path, dict[str, Any]]) -> None:
    assert used[1]["detector"] == "brightness"


def test_experiment_and_metric_of_the_page_are_planned_run_and_reported(used: tuple[Path, dict[str, Any]]) -> None:
    folder, found = used
    assert '"square"' in found["init"]
    assert "square" in found["plan"]
    result = Result.load(folder / "study" / "results" / "square.json")
    dataset = Dataset(BUNDLED["bundled:true-clusters"])
    is_real_test = (dataset.labels == 0) & (dataset.column("split") == "test")
    is_square = dataset.column("width") == dataset.column("height")
    assert result.tables[0].rows[0].cells["test"].value == pytest.approx(is_square[is_real_test].mean())
    assert "How many real images are square?" in (folder / "study" / "report" / "index.html").read_text()


def test_importer_exporter_and_command_of_the_page_run(used: tuple[Path, dict[str, Any]]) -> None:
    folder, found = used
    photographs = [str(folder / "photographs" / f"{number}.png") for number in range(3)]
    assert Dataset(folder / "coco").column("path").tolist() == photographs
    assert (folder / "exported" / "paths.txt").read_text().splitlines() == photographs
    assert "3 images" in found["count"]
