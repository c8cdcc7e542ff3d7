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
    ("low", "value", "high", "verdict"),
    [
        (0.43, 0.44, 0.45, "agrees"),
        (0.447, 0.454, 0.461, "agrees"),  # our interval does not contain 0.44, but the difference may be 0
        (0.459, 0.469, 0.479, "differs"),
        (0.38, 0.45, 0.52, "cannot tell"),
        (0.55, 0.7, 0.85, "differs"),  # 12 clusters can be enough
        (0.44, 0.44, float("nan"), "cannot tell"),
    ],
)
def test_a_verdict_knows_both_sampling_errors(low: float, value: float, high: float, verdict: str) -> None:
    paper = {"paper": 0.44, "paper_low": 0.426, "paper_high": 0.454}  # of 5,000 clusters
    assert Estimate(value=value, low=low, high=high, clusters=5000, images=30000, **paper).verdict == verdict


def test_rounding_is_no_difference_and_without_a_value_there_is_no_verdict() -> None:
    exact = Estimate(value=0.98, low=0.98, high=0.98, clusters=5000, images=30000)
    assert exact.model_copy(update={"paper": 0.98004}).verdict == "agrees"
    assert exact.model_copy(update={"paper": 0.9802}).verdict == "differs"
    assert exact.verdict is None


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
