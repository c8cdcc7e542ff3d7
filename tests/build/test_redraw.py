"""Redrawing images: their file is restored if its bytes are equal, and not written otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from changeling.build.job import Build
from changeling.build.parents import Parents
from changeling.build.parts import to_table
from changeling.build.redraw import redraw_images
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from tests import helpers
from tests.build.builds import drawing, make_build


def find_row(build: Build, condition: Callable[[dict[str, object]], bool]) -> dict[str, str]:
    """The first row that is condition."""
    return next(row for row in Dataset(build.output).images.to_pylist() if condition(row))


@pytest.mark.parametrize("which", ["picky", "tiny vae"])
def test_a_missing_file_is_restored(which: str, copy: Build) -> None:
    before = helpers.contents(copy.output)
    row = find_row(copy, lambda row: row["generator"] == which and row["status"] == "ok")
    path = copy.output / row["path"]
    path.unlink()
    assert list(redraw_images(copy, [row["image_id"]])) == [path]
    assert helpers.contents(copy.output) == before


def test_parents_and_several_images_at_once_are_restored(copy: Build) -> None:
    before = helpers.contents(copy.output)
    rows = [row for row in Dataset(copy.output).images.to_pylist() if row["image_id"] in ("4.jpg", "tiny vae/2.png")]
    for row in rows:
        (copy.output / row["path"]).write_bytes(b"something else")
    assert list(redraw_images(copy, [row["image_id"] for row in rows])) == [copy.output / row["path"] for row in rows]
    assert helpers.contents(copy.output) == before


def test_a_changed_file_is_restored(copy: Build) -> None:
    before = helpers.contents(copy.output)
    row = find_row(copy, lambda row: row["generator"] == "picky" and row["status"] == "ok")
    (copy.output / row["path"]).write_bytes(b"something else")
    list(redraw_images(copy, [row["image_id"]]))
    assert helpers.contents(copy.output) == before


def test_a_child_that_was_flagged_first_is_restored(copy: Build) -> None:
    before = helpers.contents(copy.output)
    rows = [row for row in Dataset(copy.output).images.to_pylist() if row["generator"] == "picky"]
    later = [row for row in rows if row["status"] == "ok" and row["seed"] not in first_seeds(copy)]
    for row in later[:2]:  # which the safety checker had flagged first
        (copy.output / row["path"]).unlink()
        list(redraw_images(copy, [row["image_id"]]))
    assert len(later) >= 2
    assert helpers.contents(copy.output) == before


def first_seeds(build: Build) -> set[int]:
    """The first seeds of all children of `picky`."""
    return {child.seed for child in build.parents.list_children("picky", build.generators["picky"], build.seed, 0, 99)}


def test_a_child_of_a_batch_is_drawn_with_the_batch(parents: Dataset, models: Path, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"sd": drawing("picky")}, batch=4, clusters=2)
    assert run_build(build)
    before = helpers.contents(build.output)
    drawn = [row for row in Dataset(build.output).images.to_pylist() if row["generator"] and row["status"] == "ok"]
    for row in (drawn[0], drawn[-1]):
        (build.output / row["path"]).unlink()
        list(redraw_images(build, [row["image_id"]]))
    assert helpers.contents(build.output) == before
    alone = replace(build, settings=build.settings.model_copy(update={"batch": 1}))  # the part says how it was drawn
    list(redraw_images(alone, [drawn[0]["image_id"]]))
    assert helpers.contents(build.output) == before


@pytest.mark.parametrize(
    "image_id", ["picky/nobody/0", "other/0.jpg/0", "picky/0.jpg/3", "picky/0.jpg", "7.jpg", "", "tiny vae/0.jpg/0"]
)
def test_an_unknown_id_is_an_error(image_id: str, whole: Build) -> None:
    with pytest.raises(BuildError) as caught:
        list(redraw_images(whole, [image_id]))
    assert str(caught.value).startswith(f"there is no image {image_id!r}; ids are in images.parquet, such as 'picky/")


def test_an_image_that_is_not_written_yet_is_an_error(copy: Build) -> None:
    copy.parts("picky").path(0).unlink()
    with pytest.raises(BuildError, match=r"picky/0.jpg/0 is not made yet; `changeling build run` makes it"):
        list(redraw_images(copy, ["picky/0.jpg/0"]))


def test_a_flagged_child_is_an_error(copy: Build) -> None:
    before = helpers.contents(copy.output)
    with pytest.raises(BuildError, match=r"strict/3.webp/1 has no file: the safety checker flagged it once"):
        list(redraw_images(copy, ["strict/3.webp/1"]))
    assert helpers.contents(copy.output) == before


def test_a_child_with_other_bytes_is_not_written(copy: Build) -> None:
    row = find_row(copy, lambda row: row["generator"] == "picky" and row["status"] == "ok")
    parts = copy.parts("picky")
    rows = [ImageRow(**row | {"sha256": "0" * 64}) for row in parts.read(0).to_pylist()]
    parts.write(0, parts.read_header(0).model_copy(update={"device": "a machine of old"}), to_table(rows))
    before = helpers.contents(copy.output)
    with pytest.raises(
        BuildError, match=r"has other bytes now; nothing was written \(it was drawn on a machine of old"
    ):
        list(redraw_images(copy, [row["image_id"]]))
    assert helpers.contents(copy.output) == before


def test_a_child_of_another_caption_or_setting_is_not_written(copy: Build, tmp_path: Path) -> None:
    before = helpers.contents(copy.output)
    captions = [CaptionRow(**row) for row in copy.parents.captions.to_pylist()]
    captions[1] = replace(captions[1], caption="something else")
    rows = [ImageRow(**row) for row in copy.parents.images.to_pylist()]
    other = make_build(write_dataset(tmp_path / "coco", rows, captions), copy.output, copy.root, copy.generators)
    with pytest.raises(BuildError, match="was made of other parents or captions than there are now"):
        list(redraw_images(other, ["picky/0.jpg/0"]))
    steps = {**copy.generators, "picky": drawing("picky", steps=2)}
    with pytest.raises(BuildError, match="made with steps 1, now it is 2"):
        list(redraw_images(replace(copy, generators=steps), ["picky/0.jpg/0"]))
    assert helpers.contents(copy.output) == before


def test_a_child_whose_parent_has_changed_is_not_written(copy: Build, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"another file")
    rows = [ImageRow(**row) for row in copy.parents.images.to_pylist()]
    rows[0] = replace(rows[0], path=str(tmp_path / "0.jpg"))
    captions = [CaptionRow(**row) for row in copy.parents.captions.to_pylist()]
    other = make_build(write_dataset(tmp_path / "coco", rows, captions), copy.output, copy.root, copy.generators)
    with pytest.raises(BuildError, match=r"picky/0.jpg/0: its parent: is another file than when it was"):
        list(redraw_images(other, ["picky/0.jpg/0"]))


def test_images_can_be_redrawn_after_clusters_were_added(parents: Dataset, models: Path, tmp_path: Path) -> None:
    build = make_build(parents, tmp_path / "fakes", models, {"picky": drawing("picky")}, clusters=3)
    assert run_build(build)
    before = helpers.contents(build.output)
    larger = replace(build, parents=Parents(parents, 6))
    rows = [row for row in Dataset(build.output).images.to_pylist() if row["status"] == "ok"]
    for row in (rows[2], rows[-1]):  # of the last parts, which hold fewer than they would
        (build.output / row["path"]).unlink()
        list(redraw_images(larger, [row["image_id"]]))
    assert helpers.contents(build.output) == before
    for image_id in ("4.jpg", "picky/4.jpg/0", "picky/3.webp/0"):
        with pytest.raises(BuildError, match="is not made yet"):
            list(redraw_images(larger, [image_id]))


def test_a_parent_of_another_encoding_is_not_written(copy: Build) -> None:
    other = replace(copy, settings=copy.settings.model_copy(update={"encoding": "fixed"}))
    with pytest.raises(BuildError, match=r"0.jpg is of other parents, or was saved in another way, than there are"):
        list(redraw_images(other, ["0.jpg"]))
