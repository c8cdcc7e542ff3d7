"""What the demo says of its two studies: only what the intervals allow."""

from __future__ import annotations

import pytest

from changeling.demo.contrast import contrast_studies
from changeling.results.result import Column, Estimate, Result, Row, Table


def make_study(auroc: tuple[float, float, float], validation: float = 0.7) -> list[Result]:
    """Return results of a study with two backbones, of which `chosen` is the best on validation."""
    tables = {}
    for experiment, columns in {"probe": ("auroc", "balanced"), "distances": ("max",)}.items():
        rows = []
        for generator, backbone, shift in (("all", "other", 0.1), ("all", "chosen", 0.0), ("taesd", "chosen", 0.2)):
            value, low, high = auroc
            estimate = Estimate(value=value - shift, low=low - shift, high=high, clusters=94, images=564)
            cells = {f"test_{column}": estimate for column in columns}
            chosen = estimate.model_copy(update={"value": validation - shift})
            cells |= {f"val_{column}": chosen for column in columns}
            rows.append(Row(labels={"Generator": generator, "Backbone": backbone}, cells=cells))
        names = tuple(Column(key=f"{split}_{column}", label=column) for split in ("val", "test") for column in columns)
        tables[experiment] = Table(
            key=experiment, title=experiment, labels=("Generator", "Backbone"), columns=names, rows=tuple(rows)
        )
    return [
        Result(
            experiment=name,
            title=name,
            summary="",
            settings={},
            tables=(table,),
            dataset={"name": "d", "hash": "ab", "images": 564},
        )
        for name, table in tables.items()
    ]


@pytest.mark.parametrize(
    ("reconstructions", "children", "begins", "says"),
    [
        (
            (0.8, 0.76, 0.84),
            (0.7, 0.55, 0.83),
            "Yes: ",
            "can be distinguished from these, too (AUROC 70.0 %, 55.0 % to 83.0 %",
        ),
        ((0.8, 0.76, 0.84), (0.6, 0.45, 0.75), "Yes: ", "94 clusters are too few to tell"),
        ((0.52, 0.47, 0.57), (0.7, 0.55, 0.83), "Not by these features: ", "can be distinguished from these, too"),
    ],
)
def test_the_summary_claims_what_the_intervals_allow(
    reconstructions: tuple[float, float, float], children: tuple[float, float, float], begins: str, says: str
) -> None:
    studies = {"reconstructions": make_study(reconstructions), "true-clusters": make_study(children)}
    summary = contrast_studies(studies).summary
    assert summary.startswith(begins)
    assert f"AUROC {100 * reconstructions[0]:.1f} %" in summary
    assert says in summary


def test_the_table_has_the_cells_of_all_generators_of_both_studies() -> None:
    studies = {"reconstructions": make_study((0.8, 0.7, 0.9)), "true-clusters": make_study((0.6, 0.4, 0.8))}
    (table,) = contrast_studies(studies).tables
    assert [(row.labels["Photographs"].split()[-1], row.labels["Backbone"]) for row in table.rows] == [
        ("reconstructions", "other"),
        ("reconstructions", "chosen"),
        ("images", "other"),
        ("images", "chosen"),
    ]
    assert [round(row.cells["max"].value, 3) for row in table.rows] == [0.7, 0.8, 0.5, 0.6]
    assert all(set(row.cells) == {"auroc", "balanced", "max"} for row in table.rows)
