from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from changeling.files import whole


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with whole(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mistake", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("begun", [False, True])
def test_a_file_is_left_alone_when_the_block_fails(mistake: type[BaseException], begun: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        with whole(path) as temporary:
            if begun:
                temporary.write_text("half")
            raise mistake

    with pytest.raises(mistake):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f".x.{platform.node()}-{int(dead.stdout)}.tmp").write_text("left by a killed process")
    living = tmp_path / f".x.{platform.node()}-{os.getppid()}.tmp"
    living.write_text("half")
    with whole(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert living.read_text() == "half"
    living.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "new"


def test_what_others_write_is_not_touched(tmp_path: Path) -> None:
    """Neither of a machine whose name goes on, nor what only looks like a temporary file."""
    me, nobody = platform.node(), 2**22 + 1  # more than a process is called
    for name in (f".x.{me}-1-{nobody}.tmp", f".x.{me}-a.tmp", f".x.{me}-.tmp", f".xy.{me}-{nobody}.tmp", ".x.tmp"):
        (tmp_path / name).write_text("theirs")
    (tmp_path / f".x.{me}-{nobody}.tmp").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with whole(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*before, "x"} - {f".x.{me}-{nobody}.tmp"})
