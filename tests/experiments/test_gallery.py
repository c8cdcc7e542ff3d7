"""The gallery shows the existing images of the test split, each at most once per sheet."""

import numpy as np
import pytest
from PIL import Image

from changeling.errors import DatasetError
from changeling.experiments import gallery
from changeling.experiments.base import Context
from changeling.experiments.gallery import GallerySettings
from tests.experiments.conftest import Plant, draw_files


def test_the_gallery_shows_existing_files(plant: Plant) -> None:
    dataset = plant(style=1.0)
    with pytest.raises(DatasetError, match="the image files of the test split do not exist"):
        gallery.run(Context(dataset, ["planted"]), GallerySettings())
    draw_files(dataset, "test")
    clusters, realism, verdicts = gallery.run(Context(dataset, ["planted"]), GallerySettings()).sheets
    assert len(clusters.strips) == 12
    first = clusters.strips[0]
    assert [picture.role for picture in first.pictures] == ["parent", "child", "child", "child"]
    assert first.caption == f"caption {first.title[1:]}"
    most, least = ([p.probability or 0 for p in strip.pictures] for strip in realism.strips)
    assert most == sorted(most)
    assert least == sorted(least, reverse=True)
    assert most[-1] < least[-1]
    assert {p.role for strip in realism.strips for p in strip.pictures} == {"child"}
    wrong = {strip.title.partition(":")[0]: strip.pictures for strip in verdicts.strips}
    paths = [picture.path for strip in verdicts.strips for picture in strip.pictures]
    assert len(paths) == len(set(paths))
    assert {(p.role, p.label) for p in wrong["Real, labelled fake"]} == {("parent", "fake")}
    assert {(p.role, p.label) for p in wrong["Fake, labelled real"]} == {("child", "real")}


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
