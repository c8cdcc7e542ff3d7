"""The gallery shows the existing images of the test split, each at most once per sheet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.datasets.dataset import write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import DatasetError
from changeling.experiments import gallery
from changeling.experiments.base import Context
from changeling.experiments.gallery import GallerySettings
from changeling.features.store import load_features
from tests.experiments.conftest import Plant, draw_files, store


def test_the_gallery_shows_existing_files(plant: Plant) -> None:
    dataset = plant(style=1.0)
    with pytest.raises(DatasetError, match="the image files of the test split do not exist"):
        gallery.run(Context(dataset, ["planted"]), GallerySettings())
    draw_files(dataset, "test")
    clusters, realism, verdicts = gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
    assert len(clusters.strips) == 12
    first = clusters.strips[0]
    assert [picture.role for picture in first.pictures] == ["parent", "child", "child", "child"]
    text = f"caption {first.title[1:]}"
    assert [picture.caption for picture in first.pictures] == ["", text, f"{text}, text 1", f"{text}, text 2"]
    assert first.caption == ""
    most, least = ([p.probability or 0 for p in strip.pictures if p.role == "child"] for strip in realism.strips)
    assert most == sorted(most)
    assert len(most) == len(least) == 10
    assert most[-1] < min(least)
    assert {p.role for p in realism.strips[0].pictures} == {"child"}
    wrong = {strip.title.partition(":")[0]: strip.pictures for strip in verdicts.strips}
    paths = [picture.path for strip in verdicts.strips for picture in strip.pictures]
    assert len(paths) == len(set(paths))
    assert {(p.role, p.label) for p in wrong["Real, labelled fake"]} == {("parent", "fake")}
    assert {(p.role, p.label) for p in wrong["Fake, labelled real"]} == {("child", "real")}


def test_the_least_realistic_children_follow_their_parents(plant: Plant) -> None:
    dataset = plant(style=1.0)
    draw_files(dataset, "test")
    sheets = gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
    least = next(sheet for sheet in sheets if sheet.key == "realism").strips[1]
    clusters = [Path(picture.path).name.split("-")[0] for picture in least.pictures]
    parent = ""
    for picture, cluster in zip(least.pictures, clusters, strict=True):
        parent = cluster if picture.role == "parent" else parent
        assert cluster == parent
        assert picture.caption.startswith(f"caption {cluster}" if picture.role == "child" else "")
    assert len({picture.path for picture in least.pictures}) == len(least.pictures)


def test_a_cluster_without_known_captions_of_its_children_has_its_first_one(plant: Plant) -> None:
    dataset = plant(style=1.0)
    rows = [replace(ImageRow(**row), caption_index=None) for row in dataset.images.to_pylist()]
    captions = [CaptionRow(**row) for row in dataset.captions.to_pylist()]
    unknown = write_dataset(dataset.path / "unknown", rows, captions)
    store(unknown, "planted", load_features(dataset, "planted").values)
    draw_files(unknown, "test")
    first = gallery.run(Context(unknown, ["planted"]), GallerySettings()).sheets[0].strips[0]
    assert first.caption == f"caption {first.title[1:]}"
    assert {picture.caption for picture in first.pictures} == {""}


@pytest.mark.parametrize(("children", "shown"), [(1, [1]), (2, [1, 1]), (5, [3, 2])])
def test_no_child_is_shown_twice(plant: Plant, children: int, shown: list[int]) -> None:
    dataset = plant(style=1.0)
    test = np.flatnonzero((dataset.column("split") == "test") & (dataset.labels == 1))[:children]
    for row in test:
        Image.new("RGB", (4, 4)).save(dataset.resolve_path(dataset.column("path")[row]))
    realism = next(
        sheet
        for sheet in gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
        if sheet.key == "realism"
    )
    assert [len(strip.pictures) for strip in realism.strips] == shown
    paths = [picture.path for strip in realism.strips for picture in strip.pictures]
    assert len(paths) == len(set(paths))
