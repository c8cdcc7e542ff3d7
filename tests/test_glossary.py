"""Retired words stay out of the code and the documentation (see the glossary in docs/architecture.md)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "changeling"

# what is never written in a sentence: pattern -> what to write instead
RETIRED_WORDS = {
    r"(un)?told(?! apart)": "the thing itself: a message, a row, a note",
    r"spoken": "the thing itself: captions, a sentence",
    r"reckon(s|ed|ing)?": "estimate",
    r"likeness(es)?": "perceptual hash",
    r"mend(s|ed|ing)?": "error, fix",
    r"to know of": "warning",
    r"knows? the answer": "train/test leakage",
    r"goes before": "overrides",
    r"put(s|ting)? back": "restore",
    r"say how far": "print the progress",
    r"rightly": "correctly",
    r"anew": "again, new",
    r"nobody": "no one, or the passive voice",
    r"gravest": "most severe",
    r"vouch(es|ed)?": "trust",
    r"make_room": "remove_outdated_parts",
    r"ScaleError": "RayError",
}

# what no variable, parameter, function, class or attribute is called: name -> what to write instead
HOLDS = "what it holds"
RETIRED_NAMES = {
    "agree": "write_or_check_record",
    "asked": HOLDS,
    "calm": "within-class covariance normalisation (wccn)",
    "carried": "ExportedImage",
    "emphasis": "generator_weights",
    "facts": "file_features, or what they are",
    "form": "encoding",
    "grown": "parts_to_extend",
    "heard": HOLDS,
    "here": HOLDS,
    "kept": HOLDS,
    "kin": HOLDS,
    "likeness": "perceptual_hash",
    "make_room": "remove_outdated_parts",
    "mended": "errors",
    "mine": HOLDS,
    "ready": "presets",
    "reckoned": "estimated",
    "said": HOLDS,
    "same": "check_part, or a boolean that begins with is_",
    "scaleerror": "RayError",
    "sourced": "ImportedImage",
    "spoken": HOLDS,
    "tell": "describe",
    "there": HOLDS,
    "told": HOLDS,
    "untold": "ignore_note",
    "wanted": HOLDS,
    "whole": "atomic_write",
}

# a retired name that is part of a file format that exists: (file below src/changeling, name)
ALLOWED_NAMES: set[tuple[str, str]] = set()

PYTHON_FILES = sorted(SOURCE.rglob("*.py"))
TEXT_FILES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").rglob("*.md"),
        *(path for path in SOURCE.rglob("*") if path.suffix in (".md", ".toml", ".html", ".css")),
    ]
)


def get_path_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PYTHON_FILES, ids=get_path_name)
def test_retired_names_are_not_defined(path: Path) -> None:
    file = path.relative_to(SOURCE).as_posix()
    found = [
        f"{get_path_name(path)}:{line}: {name}: rather {RETIRED_NAMES[name.strip('_').lower()]}"
        for line, name in find_defined_names(path.read_text(encoding="utf-8"))
        if name.strip("_").lower() in RETIRED_NAMES and (file, name) not in ALLOWED_NAMES
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", [*PYTHON_FILES, *TEXT_FILES], ids=get_path_name)
def test_retired_words_are_not_written(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pieces = find_sentences(text) if path.suffix == ".py" else [(1, text)]
    found = [
        f"{get_path_name(path)}:{line}: {word!r}: rather {instead}"
        for first, piece in pieces
        for line, word, instead in find_retired_words(piece, first)
    ]
    assert not found, "\n".join(found)


def test_retired_words_are_found() -> None:
    code = "def f(told: int) -> None:\n    '''What is told.'''\n    # it was reckoned\n    self._kept = 'mended'\n"
    assert [name for _, name in find_defined_names(code)] == ["f", "told", "_kept"]
    words = [found[:2] for line, piece in find_sentences(code) for found in find_retired_words(piece, line)]
    assert sorted(words) == [(2, "told"), (3, "reckoned"), (4, "mended")]
    assert not list(
        find_retired_words("They can be told apart; amend, recommend, retold, forthrightly, put it back.", 1)
    )


def find_retired_words(text: str, first_line: int) -> Iterator[tuple[int, str, str]]:
    """The retired words of a text: (line, word, what to write instead)."""
    for pattern, instead in RETIRED_WORDS.items():
        spaced = pattern.replace(" ", r"\s+")
        for match in re.finditer(rf"\b(?:{spaced})\b", text, re.IGNORECASE):
            yield first_line + text.count("\n", 0, match.start()), match.group(), instead


def find_sentences(code: str) -> Iterator[tuple[int, str]]:
    """The strings and comments of a Python file, with their first lines."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def find_defined_names(code: str) -> Iterator[tuple[int, str]]:
    """The names that a Python file defines: functions, classes, parameters, variables and attributes."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
