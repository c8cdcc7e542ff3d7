"""The paper's values are added where they are comparable; elsewhere the table says why not."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Split
from changeling.experiments import paper
from changeling.experiments.base import Context, Settings
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.distances import DistancesSettings
from changeling.experiments.linear_probe import ProbeSettings
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


def make_table(backbone: str = BACKBONE, generator: str = GENERATOR) -> Table:
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


DISTANCES, PAPER_PROBE = DistancesSettings(), ProbeSettings(train_on=GENERATOR)


def add_values(dataset: Dataset, table: Table, *, compare: bool = True) -> Table:
    context = Context(dataset, [], compare_with_paper=compare)
    return paper.add_paper_values(table, context, DISTANCES, DISTANCES)


def list_shown(table: Table) -> list[float | None]:
    return [cell.paper for row in table.rows for cell in row.cells.values()]


def test_the_papers_values_are_added_if_the_study_asks_for_them(rows: list[ImageRow], tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, [replace(row, source="mine") for row in rows])
    compared = add_values(dataset, make_table())
    assert list_shown(compared) == [0.44, 0.0172]
    assert [cell.verdict for cell in compared.rows[0].cells.values()] == ["agrees", "differs"]
    (low, high), _ = ((cell.paper_low, cell.paper_high) for cell in compared.rows[0].cells.values())
    assert (low, high) == pytest.approx(binomtest(2200, 5000).proportion_ci(method="exact"))
    assert compared.note == ""
    assert add_values(dataset, make_table(), compare=False) == make_table()


def test_a_backbone_may_be_named_by_its_id(rows: list[ImageRow], tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, rows)
    for name in (BACKBONE, "open_clip:ViT-B-32/laion2b_s34b_b79k"):
        assert list_shown(add_values(dataset, make_table(name))) == [0.44, 0.0172]


@pytest.mark.parametrize(
    ("backbone", "generator", "reason"),
    [
        ("clip-vit-b16", GENERATOR, "stable-diffusion-v1.4, clip-vit-b16: the paper has no values."),
        (f"{BACKBONE}@pre", GENERATOR, f"stable-diffusion-v1.4, {BACKBONE}@pre: the paper has no values."),
        (BACKBONE, "all", "all generators: not a generator of the paper."),
        (
            BACKBONE,
            "stable-diffusion-v2.1",
            "stable-diffusion-v2.1: not comparable with the paper, because the validation split has 5,000 parents and "
            "0 children, not 5,000 and 25,000.",
        ),
    ],
)
def test_a_table_says_why_it_has_no_values(
    rows: list[ImageRow], tmp_path: Path, backbone: str, generator: str, reason: str
) -> None:
    compared = add_values(write_dataset(tmp_path, rows), make_table(backbone, generator))
    assert list_shown(compared) == [None, None]
    assert compared.note == reason


def test_a_few_images_may_be_missing(rows: list[ImageRow], tmp_path: Path) -> None:
    compared = add_values(write_dataset(tmp_path / "a", rows[:-3]), make_table())
    assert list_shown(compared) == [0.44, 0.0172]
    assert compared.note == f"{GENERATOR}: 3 of the paper's 60,000 images are missing (0.005 %)."
    compared = add_values(write_dataset(tmp_path / "b", rows[:-301]), make_table())
    assert list_shown(compared) == [None, None]
    assert "the test split has 4,950 parents and 24,749 children, not 5,000 and 25,000." in compared.note


@pytest.mark.parametrize(
    ("settings", "paper_settings", "differences"),
    [
        (DistancesSettings(distance="l2"), DISTANCES, "distance = l2; comparable are distance = cosine."),
        (
            ProbeSettings(train_on=GENERATOR, C=2.0),
            PAPER_PROBE,
            "C = 2.0; comparable are C = tuned.",
        ),
        (ProbeSettings(), PAPER_PROBE, f"train_on = all; comparable are train_on = {GENERATOR}."),
        (
            DisentangleSettings(epochs=1, C=1e6),
            DisentangleSettings(),
            "C = 1000000.0, epochs = 1; comparable are C = 1.0, epochs = 25.",
        ),
    ],
)
def test_other_settings_have_no_values(
    settings: Settings, paper_settings: Settings, differences: str, rows: list[ImageRow], tmp_path: Path
) -> None:
    context = Context(write_dataset(tmp_path, rows[:6]), [], compare_with_paper=True)
    compared = paper.add_paper_values(make_table(), context, settings, paper_settings)
    assert list_shown(compared) == [None, None]
    start = "The paper's values are not shown, because the settings differ: "
    assert compared.note.startswith(start)
    parts = compared.note.removeprefix(start).rstrip(".").split("; comparable are ")
    assert [set(part.split(", ")) for part in parts] == [
        set(part.split(", ")) for part in differences.rstrip(".").split("; comparable are ")
    ]


def test_table_4_has_the_papers_values_on_s_and_in_t(rows: list[ImageRow], tmp_path: Path) -> None:
    labels = {"Generator": GENERATOR, "Backbone": BACKBONE}
    cells = make_table().rows[0].cells | {"test_overall": Estimate(value=0.7, low=0.6, high=0.8, clusters=9, images=9)}
    made = Table(
        key="disentangle",
        title="",
        labels=(*labels, "Features"),
        columns=tuple(Column(key=key, label=key) for key in cells),
        rows=tuple(Row(labels=labels | {"Features": name}, cells=cells) for name in ("raw", "S", "T (not converged)")),
    )
    compared = add_values(write_dataset(tmp_path, rows), made)
    assert list_shown(compared) == [None, None, None, None, None, 0.7262, None, None, None]
    assert compared.note == ""


def test_every_value_of_the_paper_is_in_the_package() -> None:
    values = paper._load_values()
    assert len(values) == 12 * 4 + 4
    assert sum(map(len, values.values())) == 12 * 4 + 12 * 4 + 4 * 12 + 12 * 8
    assert values[f"probe/{GENERATOR}/{BACKBONE}"]["test_overall"] == 0.9964
    assert values[f"retrieval/{GENERATOR}/{BACKBONE}"]["val_cluster_5"] == 0.7358
    assert values["disentangle/stable-diffusion-v2.1/rn50-imagenet/T"]["test_max"] == 0.8948
    assert all(0 <= value <= 1 for values in values.values() for value in values.values())
