"""A Result is loaded as it was saved, whatever its paths and numbers."""

from pathlib import Path

import pytest

from changeling.errors import ReportError
from changeling.results.result import Column, Estimate, Picture, Result, Row, Sheet, Strip, Table


def result() -> Result:
    cell = Estimate(value=0.5, low=0.1, high=0.9, clusters=3, images=9)
    column = Column(key="val_min", label="Min", group="Validation", chance=1 / 3)
    table = Table(
        key="t", title="T", labels=("G",), columns=(column,), rows=(Row(labels={"G": "a"}, cells={"val_min": cell}),)
    )
    picture = Picture(path="caf\udce9/a\nb.jpg", role="child", probability=0.25, label="real")
    sheet = Sheet(key="s", title="S", strips=(Strip(title="one", pictures=(picture,)),))
    return Result(
        experiment="e", title="E", summary="so.", settings={"seed": 0, "x": None}, tables=(table,), sheets=(sheet,)
    )


def test_a_saved_result_is_loaded_unchanged(tmp_path: Path) -> None:
    path = result().save(tmp_path / "results")
    assert path.name == "e.json"
    assert Result.load(path) == result()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not a Result"), ("{}", "experiment: Field required"), ('{"experiment": 3}', "experiment: Input should be")],
)
def test_a_file_that_is_not_a_result_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ReportError, match=message):
        Result.load(tmp_path / "x.json")
    with pytest.raises(ReportError, match="no such result"):
        Result.load(tmp_path / "y.json")
