"""Rows between the stages of a pipeline, without Ray: each holds a result or an error."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from changeling.distributed.pipeline import Shared, Stage, StageActor, apply_stage, make_row, read_result
from changeling.errors import BuildError, ChangelingError, ImageError


def add_index(index: int, result: Any) -> Any:
    return (result or 0) + index


def failing(error: Exception) -> Stage:
    """A stage that raises an error."""

    def fail(_: int, __: Any) -> Any:
        raise error

    return fail


def test_stage_gets_the_result_of_the_stage_before() -> None:
    row = make_row(3, None)
    assert read_result(apply_stage(apply_stage(row, add_index), add_index)) == 6
    assert read_result(StageActor(add_index)(row)) == 3


@pytest.mark.parametrize(
    "error",
    [
        BuildError("the model fails"),
        ImageError("corrupt", "no image"),
        OSError(errno.ENOSPC, "No space left on device", "x.png"),
        PermissionError(errno.EACCES, "Permission denied", "x.png"),
    ],
    ids=repr,
)
def test_error_of_any_stage_is_raised_at_the_end(error: Exception) -> None:
    for position in (0, 1, 2):
        stages: list[Stage] = [add_index, add_index, add_index]
        stages[position] = failing(error)
        row = make_row(3, None)
        for stage in stages:
            row = apply_stage(row, stage)
        assert row["index"] == 3
        with pytest.raises(type(error)) as caught:
            read_result(row)
        assert str(caught.value) == str(error)


def test_rows_with_and_without_an_error_have_the_same_columns() -> None:
    row = make_row(0, None)
    failed = apply_stage(row, failing(ChangelingError("no")))
    assert {name: type(value) for name, value in row.items()} == {name: type(value) for name, value in failed.items()}


def test_programming_error_is_not_stored() -> None:
    with pytest.raises(ZeroDivisionError):
        apply_stage(make_row(0, None), failing(ZeroDivisionError()))


def test_shared_object_is_opened_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    shared = Shared.pack({"path": Path("relative")})
    monkeypatch.chdir(tmp_path)
    content = shared.unpack()
    assert content == {"path": Path("relative")}
    assert Path.cwd() == tmp_path / "a"
    assert shared.unpack() is content
