"""The paper's values are added if dataset, generator and backbone are the paper's, and only then."""

from dataclasses import replace
from pathlib import Path

import pytest

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Split
from changeling.experiments import paper
from changeling.results.result import Column, Estimate, Row, Table

BACKBONE, GENERATOR = "openclip-vit-b32-laion2b", "stable-diffusion-v1.4"


@pytest.fixture(scope="module")
def rows() -> list[ImageRow]:
    """Validation and test splits as large as COCOFake's."""
    made: list[ImageRow] = []
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        for n in range(5000):
            name = f"coco_{split}{n}"
            made.append(ImageRow(name, name, "parent", name, split, "cocofake"))
            made += [
                ImageRow(f"{name}-{i}", name, "child", f"{name}-{i}", split, "cocofake", i, GENERATOR) for i in range(5)
            ]
    return made


def table(backbone: str = BACKBONE, generator: str = GENERATOR) -> Table:
    cells = {
        key: Estimate(value=0.44, low=0.43, high=0.45, clusters=5000, images=30000) for key in ("test_max", "test_min")
    }
    return Table(
        key="distances",
        title="",
        labels=("Generator", "Backbone"),
        columns=tuple(Column(key=key, label=key) for key in cells),
        rows=(Row(labels={"Generator": generator, "Backbone": backbone}, cells=cells),),
    )


def shown(dataset: Dataset, **labels: str) -> list[float | None]:
    (row,) = paper.add_paper_values(table(**labels), dataset).rows
    return [cell.paper for cell in row.cells.values()]


def test_the_papers_values_are_added_to_its_dataset(rows: list[ImageRow], tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, rows)
    assert shown(dataset) == [0.44, 0.0172]
    (row,) = paper.add_paper_values(table(), dataset).rows
    assert [cell.holds for cell in row.cells.values()] == [True, False]
    assert shown(dataset, backbone="clip-vit-b16") == [None, None]
    assert shown(dataset, backbone=f"{BACKBONE}@pre") == [None, None]
    assert shown(dataset, generator="stable-diffusion-v2.1") == [None, None]


@pytest.mark.parametrize("change", ["a child is missing", "a parent is missing", "another source"])
def test_the_papers_values_are_not_added_to_other_datasets(change: str, rows: list[ImageRow], tmp_path: Path) -> None:
    other = {
        "a child is missing": rows[:-1],
        "a parent is missing": rows[1:],
        "another source": [replace(rows[0], source="mine"), *rows[1:]],
    }[change]
    assert shown(write_dataset(tmp_path, other)) == [None, None]


def test_every_value_of_the_paper_is_in_the_package() -> None:
    values = paper._load_values()
    assert len(values) == 12 * 3 + 4
    assert sum(map(len, values.values())) == 12 * 4 + 12 * 4 + 4 * 12 + 12 * 8
    assert values[f"probe/{GENERATOR}/{BACKBONE}"]["test_overall"] == 0.9964
    assert values[f"retrieval/{GENERATOR}/{BACKBONE}"]["val_cluster_5"] == 0.7358
    assert values["disentangle/stable-diffusion-v2.1/rn50-imagenet"]["test_t_max"] == 0.8948
    assert all(0 <= value <= 1 for values in values.values() for value in values.values())
