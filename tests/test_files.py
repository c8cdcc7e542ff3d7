from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from changeling.files import LEFTOVER_AGE, atomic_write, escape_formula, free_bytes, replaced_path


def test_file_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert not path.exists()
        temporary.write_text("complete")
    assert path.read_text() == "complete"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("started", [False, True])
def test_file_is_unchanged_when_the_block_fails(error: type[BaseException], started: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as temporary:
            if started:
                temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_with_equal_hostname_and_pid_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two containers that share a volume may both be process 1 of a machine with one name; here both are this one."""
    path = tmp_path / "x"
    with ExitStack() as first, ExitStack() as second:
        first_temporary = first.enter_context(atomic_write(path))
        first_temporary.write_text("first")
        second_temporary = second.enter_context(atomic_write(path))
        second_temporary.write_text("second")
        assert first_temporary != second_temporary
        assert first_temporary.read_text() == "first"
        second.close()
        assert path.read_text() == "second"
        assert first_temporary.read_text() == "first"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("age", "remains"), [(LEFTOVER_AGE - 60, True), (LEFTOVER_AGE + 60, False)])
def test_leftover_is_removed_only_when_it_is_old(age: float, remains: bool, tmp_path: Path) -> None:
    leftover = leave_temporary_file(tmp_path / "x", age)
    with atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert leftover.exists() == remains
    assert (tmp_path / "x").read_text() == "new"


@pytest.mark.parametrize("name", [".x.tmp", ".x.0123.tmp", ".xy.{}.tmp", "x.{}.tmp", ".x.{}.tmp.txt", ".x.host-77.tmp"])
def test_files_with_other_names_are_never_removed(name: str, tmp_path: Path) -> None:
    other = tmp_path / name.format("0123456789abcdef")
    other.write_text("other content")
    os.utime(other, (0, 0))
    with atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert other.read_text() == "other content"


def leave_temporary_file(path: Path, age: float) -> Path:
    """Leave the temporary file of a killed process, last written `age` seconds ago."""
    with pytest.raises(InterruptedError), atomic_write(path) as temporary:
        raise InterruptedError
    temporary.write_text("half")
    modified = time.time() - age
    os.utime(temporary, (modified, modified))
    return temporary


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"])
def test_formula_is_escaped(text: str) -> None:
    assert escape_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "plain", "1-2", "a@b", "'=1"])
def test_plain_text_is_not_escaped(text: str) -> None:
    assert escape_formula(text) == text


def test_a_folder_that_does_not_exist_yet_is_on_the_disk_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(free_bytes(tmp_path), rel=0.1)
    monkeypatch.chdir(tmp_path)
    assert free_bytes(Path("not/there")) > 0


def test_a_temporary_file_is_named_by_the_file_that_it_replaces(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "index.html") as temporary:
        temporary.touch()
        assert replaced_path(str(temporary)) == str(tmp_path / "index.html")
    assert replaced_path(temporary.name) == "index.html"
    for other in ("/a/.hidden.tmp", "b.jpg", ""):
        assert replaced_path(other) == other
