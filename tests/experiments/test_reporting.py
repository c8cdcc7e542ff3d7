"""The row to summarise is chosen on the validation split, and called the best only if there is a choice."""

from pathlib import Path

import pytest

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.experiments.reporting import select_best_row, summarise_by_generator
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
    ("rows", "phrase"),
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
def test_a_row_is_called_the_best_only_if_others_are_worse(rows: list[Row], phrase: str) -> None:
    selected = select_best_row(rows, "auroc")
    assert selected is not None
    assert selected[1] == phrase
    assert phrase.startswith(selected[0].labels["Backbone"])


def test_without_a_test_estimate_no_row_is_selected() -> None:
    assert select_best_row([], "auroc") is None
    assert select_best_row([row("a", 0.6, test=None)], "auroc") is None


@pytest.mark.parametrize(
    ("captions", "summary"),
    [
        ({"v1": (0, 1, 2), "v2": (0, 1, 2)}, "v1: 1 row v2: 1 row"),  # the paper's setting
        ({"v1": (0,), "v2": (0,), "v3": (0,)}, "4 rows"),  # one description, a child by each generator
        ({"v1": (0, 1, 2), "v2": (3, 4)}, "3 rows"),  # each generator has captions of its own
    ],
)
def test_generators_are_summarised_apart_if_each_made_whole_clusters(
    captions: dict[str, tuple[int, ...]], summary: str, tmp_path: Path
) -> None:
    images = [ImageRow("parent", "c", "parent", "parent.jpg", "test")]
    for generator, indices in captions.items():
        for index in indices:
            name = f"{generator}-{index}"
            images.append(ImageRow(name, "c", "child", name, "test", caption_index=index, generator=generator))
    dataset = write_dataset(tmp_path, images, [])
    rows = [row("a", 0.6, generator=generator) for generator in ("all", *captions)]
    counted = summarise_by_generator(dataset, rows, lambda part: f"{len(part)} row{'s' * (len(part) > 1)}")
    assert counted == summary
