"""Table 1: the parent is the outlier if a style was planted, and at chance otherwise."""

from dataclasses import replace

import pytest

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import ImageRow
from changeling.experiments import distances
from changeling.experiments.base import Context
from changeling.experiments.distances import DistancesSettings
from changeling.features.store import load_features
from changeling.stats.metrics import Distance
from tests.experiments.conftest import Plant, store


def test_a_planted_style_gives_the_parent_the_largest_distance(plant: Plant) -> None:
    (table,) = distances.run(Context(plant(style=2.0), ["planted"]), DistancesSettings()).tables
    (row,) = table.rows
    assert row.labels == {"Generator": "g0", "Backbone": "planted"}
    assert row.cells["test_max"].value > 0.95
    assert row.cells["test_min"].value < 0.05
    assert (row.cells["test_max"].clusters, row.cells["val_max"].clusters) == (36, 24)


def test_each_generator_has_its_own_chance(plant: Plant) -> None:
    dataset = plant(style=1.5, children=5, generators=2)  # in each cluster three children by g1, two by g0
    (table,) = distances.run(Context(dataset, ["planted"]), DistancesSettings()).tables
    assert {column.chance for column in table.columns} == {None}
    chances = {row.labels["Generator"]: row.cells["test_max"].chance for row in table.rows}
    assert chances == {"all": pytest.approx(1 / 6), "g0": pytest.approx(1 / 3), "g1": pytest.approx(1 / 4)}


def test_the_distance_can_be_taken_to_the_fakes(plant: Plant) -> None:
    context = Context(plant(style=0.5), ["planted"])
    others, fakes = (distances.run(context, DistancesSettings(to=to)) for to in ("others", "fakes"))
    (row_others,), (row_fakes,) = others.tables[0].rows, fakes.tables[0].rows
    # the parent's own mean is the same, and a child's no longer has its large distance to the parent
    assert row_fakes.cells["test_max"].value > row_others.cells["test_max"].value
    assert row_fakes.cells["test_max"].chance is None
    assert fakes.tables[0].columns[0].chance is None
    assert "the largest mean distance to the fake images in" in fakes.summary
    assert "the largest mean distance to the other images in" in others.summary


def test_generators_that_share_captions_are_summarised_apart(plant: Plant) -> None:
    dataset = plant(style=1.5, children=4, generators=2)
    pooled = distances.run(Context(dataset, ["planted"]), DistancesSettings()).summary
    assert pooled.startswith("With planted features the parent")
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    halved = [row if row.caption_index is None else replace(row, caption_index=row.caption_index // 2) for row in rows]
    shared = write_dataset(dataset.path / "shared", halved)  # captions 0 and 1, each with a child by g0 and by g1
    store(shared, "planted", load_features(dataset, "planted").values)
    summary = distances.run(Context(shared, ["planted"]), DistancesSettings()).summary
    assert summary.startswith("g0: With planted features the parent")
    assert " g1: With planted features the parent" in summary


def test_without_a_style_both_accuracies_are_at_chance(plant: Plant) -> None:
    (table,) = distances.run(Context(plant(style=0.0, clusters=600), ["planted"]), DistancesSettings()).tables
    assert {column.chance for column in table.columns} == {0.25}
    for cell in table.rows[0].cells.values():
        assert cell.low <= 0.25 <= cell.high


def test_generators_with_one_child_per_cluster_have_no_rows_of_their_own(plant: Plant) -> None:
    (table,) = distances.run(Context(plant(style=2.0, generators=3), ["planted"]), DistancesSettings()).tables
    assert [row.labels["Generator"] for row in table.rows] == ["all"]


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_a_result_is_reproducible(plant: Plant, distance: Distance) -> None:
    dataset = plant(style=0.5)
    first = distances.run(Context(dataset, ["planted"], seed=3), DistancesSettings(distance=distance))
    assert first == distances.run(Context(dataset, ["planted"], seed=3), DistancesSettings(distance=distance))
    assert first.settings["distance"] == distance
