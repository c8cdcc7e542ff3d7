"""What is called the best on validation is: alone, and among several."""

import pytest

from changeling.experiments.reporting import select_best_row
from changeling.results.result import Estimate, Row


def row(backbone: str, val: float | None, test: float | None = 0.5, generator: str = "all") -> Row:
    values = {"val_auroc": val, "test_auroc": test}
    cells = {
        key: Estimate(value=value, low=0, high=1, clusters=3, images=9)
        for key, value in values.items()
        if value is not None
    }
    return Row(labels={"Generator": generator, "Backbone": backbone}, cells=cells)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("a", 0.6), row("b", 0.7)], "b features, the best on validation,"),
        ([row("a", 0.7), row("b", 0.7)], "a features"),
        ([row("a", 0.6), row("b", 0.7), row("c", 0.7)], "b features"),
        ([row("a", None), row("b", None)], "a features"),
        ([row("a", None), row("b", 0.7)], "b features"),
        ([row("a", 0.7)], "a features"),
        ([row("a", 0.6), row("b", 0.7, test=None)], "a features"),
        ([row("a", 0.6), row("b", 0.7, generator="g")], "a features"),
    ],
)
def test_the_best_on_validation_is_claimed_where_it_is_true(rows: list[Row], said: str) -> None:
    found = select_best_row(rows, "auroc")
    assert found is not None
    assert found[1] == said
    assert said.startswith(found[0].labels["Backbone"])


def test_without_a_test_there_is_no_best() -> None:
    assert select_best_row([], "auroc") is None
    assert select_best_row([row("a", 0.6, test=None)], "auroc") is None
