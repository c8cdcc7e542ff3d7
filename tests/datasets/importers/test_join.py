"""Datasets that are joined by cluster, and contradictions between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.importers.join import JoinImporter
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError
from tests import helpers
from tests.helpers import run_changeling

CLUSTERS = 3


def make_dataset(folder: Path, generator: str, clusters: range = range(CLUSTERS), quality: int = 90) -> Dataset:
    """Clusters of a parent, two captions and two children; parents of the same number show the same picture."""
    folder.mkdir()
    images, captions = [], []
    for number in clusters:
        cluster = f"coco_{number}"
        for place in range(3):
            name = f"{generator}-{number}-{place}.jpg" if place else f"{number}.jpg"
            seed = number if place == 0 else hash_number(name)
            helpers.coarse_picture(seed).save(folder / name, quality=quality)
            images.append(
                ImageRow(
                    image_id=name,
                    cluster_id=cluster,
                    role="child" if place else "parent",
                    path=name,
                    split="test" if number == 2 else "train",
                    source=folder.name,
                    caption_index=place - 1 if place else None,
                    generator=generator if place else None,
                    sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(),
                )
            )
        captions += [CaptionRow(cluster, index, f"caption {index} of {number}") for index in range(2)]
    (folder / "generators.json").write_text(json.dumps({generator: {"steps": 50, "model": generator}}))
    return write_dataset(folder, images, captions)


def hash_number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)


def change(
    dataset: Dataset,
    image: Callable[[ImageRow], ImageRow] = lambda row: row,
    caption: Callable[[CaptionRow], CaptionRow] = lambda row: row,
) -> Dataset:
    """Write the tables again, with rows changed."""
    images = [image(ImageRow(**row)) for row in dataset.images.to_pylist()]
    captions = [caption(CaptionRow(**row)) for row in dataset.captions.to_pylist()]
    return write_dataset(dataset.path, images, captions)


def join(*datasets: Dataset) -> tuple[Dataset, list[str]]:
    notes: list[str] = []
    output = datasets[0].path.parent / "joined"
    return JoinImporter([dataset.path for dataset in datasets]).import_to(output, note=notes.append), notes


@pytest.fixture
def released(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "released", "sd-1.4")


@pytest.fixture
def built(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "built", "sd-2.1")


def test_clusters_with_the_same_parent_have_the_children_of_both(released: Dataset, built: Dataset) -> None:
    joined, notes = join(released, built)
    rows = joined.images.to_pylist()
    assert [row["generator"] for row in rows] == [None, "sd-1.4", "sd-1.4", "sd-2.1", "sd-2.1"] * CLUSTERS
    assert [row["cluster_id"] for row in rows] == [f"coco_{number}" for number in range(CLUSTERS) for _ in range(5)]
    assert joined.captions.equals(released.captions)
    expected = {row["image_id"]: row for dataset in (built, released) for row in dataset.images.to_pylist()}
    for row in rows:
        original = expected[row["image_id"]]
        assert row | {"path": ""} == original | {"path": ""}
        folder = built.path if row["generator"] == "sd-2.1" else released.path
        assert Path(row["path"]) == folder / original["path"]
    assert json.loads((joined.path / "generators.json").read_text()) == {
        "sd-1.4": {"steps": 50, "model": "sd-1.4"},
        "sd-2.1": {"steps": 50, "model": "sd-2.1"},
    }
    assert notes == [f"{built.path}: 3 of 3 clusters joined with clusters of the datasets before"]


def test_parents_may_be_saved_again(released: Dataset, tmp_path: Path) -> None:
    built = make_dataset(tmp_path / "built", "sd-2.1", quality=60)
    joined, notes = join(released, built)
    parents = [row["path"] for row in joined.images.to_pylist() if row["role"] == "parent"]
    assert parents == [str(released.path / f"{number}.jpg") for number in range(CLUSTERS)]
    assert "3 parents in another file than before; the files of the first dataset are used" in notes[1]


def test_clusters_are_joined_by_the_file_of_their_parent_whatever_their_id(released: Dataset, built: Dataset) -> None:
    built = change(
        built,
        lambda row: replace(row, cluster_id=f"other/{row.cluster_id}"),
        lambda row: replace(row, cluster_id=f"other/{row.cluster_id}"),
    )
    joined, _ = join(released, built)
    assert joined.column("cluster_id").tolist() == [f"coco_{number}" for number in range(CLUSTERS) for _ in range(5)]
    assert joined.captions.num_rows == 2 * CLUSTERS


def test_clusters_of_one_dataset_are_added(released: Dataset, tmp_path: Path) -> None:
    built = make_dataset(tmp_path / "built", "sd-2.1", range(2, 5))
    joined, notes = join(released, built)
    assert sorted(set(joined.column("cluster_id"))) == [f"coco_{number}" for number in range(5)]
    assert len(joined) == 5 + 4 * 2 + 2 + 2 - 1 + 1
    assert notes == [f"{built.path}: 1 of 3 clusters joined with clusters of the datasets before"]


def test_dataset_joined_with_itself_is_the_same(released: Dataset, tmp_path: Path) -> None:
    joined, _ = join(released, released)
    assert joined.hash == released.hash
    assert joined.captions.equals(released.captions)


def test_parent_that_cannot_be_read_is_taken_from_the_other_dataset(released: Dataset, built: Dataset) -> None:
    def lose(row: ImageRow) -> ImageRow:
        return replace(row, status="missing", sha256=None) if row.image_id == "1.jpg" else row

    joined, _ = join(change(released, lose), built)
    rows = [row for row in joined.images.to_pylist() if row["image_id"] == "1.jpg"]
    assert [(row["path"], row["status"]) for row in rows] == [(str(built.path / "1.jpg"), "ok")]
    (built.path.parent / "joined" / "images.parquet").unlink()
    joined, _ = join(built, change(released, lose))
    rows = [row for row in joined.images.to_pylist() if row["image_id"] == "1.jpg"]
    assert [(row["path"], row["status"]) for row in rows] == [(str(built.path / "1.jpg"), "ok")]


def rename_cluster(row: Any) -> Any:
    """Exchange the clusters 0 and 1, without their files."""
    names = {"coco_0": "coco_1", "coco_1": "coco_0"}
    return replace(row, cluster_id=names.get(row.cluster_id, row.cluster_id))


@pytest.mark.parametrize(
    ("image", "caption", "message"),
    [
        (
            lambda row: replace(row, split="val") if row.cluster_id == "coco_1" else row,
            lambda row: row,
            "1 cluster of the datasets before in different splits (coco_1 is in train and in val)",
        ),
        (
            lambda row: row,
            lambda row: replace(row, caption=f"{row.caption}!"),
            "3 clusters of the datasets before with different captions (coco_0, coco_1, coco_2)",
        ),
        (
            lambda row: replace(row, image_id="sd-1.4-0-1.jpg") if row.image_id == "sd-2.1-0-1.jpg" else row,
            lambda row: row,
            "1 image_id belong to other images in the datasets before (sd-1.4-0-1.jpg); rename",
        ),
    ],
    ids=["split", "captions", "image_id"],
)
def test_contradictions_are_refused(
    image: Callable[[ImageRow], ImageRow],
    caption: Callable[[CaptionRow], CaptionRow],
    message: str,
    released: Dataset,
    built: Dataset,
) -> None:
    with pytest.raises(DatasetError) as caught:
        join(released, change(built, image, caption))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (released.path.parent / "joined").exists()


def test_cluster_id_of_another_picture_is_refused(released: Dataset, tmp_path: Path) -> None:
    built = make_dataset(tmp_path / "built", "sd-2.1", quality=60)
    with pytest.raises(
        DatasetError, match=r"2 clusters .* with different parents \(coco_1, coco_0\); a cluster_id must"
    ):
        join(released, change(built, rename_cluster, lambda row: replace(row, caption=row.caption)))


def test_generator_with_two_records_is_refused(released: Dataset, tmp_path: Path) -> None:
    more = make_dataset(tmp_path / "more", "sd-1.4", range(3, 5))
    (more.path / "generators.json").write_text('{"sd-1.4": {"steps": 30, "model": "sd-1.4"}}')
    with pytest.raises(
        DatasetError, match=r"have different records of the generator sd-1\.4: they differ in steps; rename"
    ):
        join(released, more)
    (more.path / "generators.json").write_text('["sd-1.4"]')
    with pytest.raises(DatasetError, match=r"generators\.json is not a JSON object"):
        join(released, more)


def test_command_joins_datasets(released: Dataset, built: Dataset, tmp_path: Path) -> None:
    ran = run_changeling("import", "join", released.path, built.path, "--output", tmp_path / "both")
    assert ran.returncode == 0, ran.stderr
    assert "3 of 3 clusters joined with clusters of the datasets before" in ran.stderr
    assert "15 images (12 fake) in 3 clusters, 6 captions" in ran.stderr
    again = run_changeling("import", "join", released.path, built.path, "--output", tmp_path / "both")
    assert again.returncode == 2
    assert "is a dataset already" in again.stderr
    single = run_changeling("import", "join", released.path, "--output", tmp_path / "one")
    assert "name at least two datasets to join" in single.stderr
