"""A classifier on file features finds formats that differ by class, and nothing if both classes are saved alike."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageFilter

from changeling.datasets.bundled import BUNDLED
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow, Role, Split
from changeling.errors import DatasetError
from changeling.experiments import confounds
from changeling.experiments.base import Context
from changeling.experiments.confounds import ConfoundsSettings
from changeling.images.decode import read_file, read_image
from changeling.images.encode import PNG_ENCODING, Encoding, encode_image, jpeg_encoding, read_encoding
from changeling.images.file_features import FILE_FEATURE_GROUPS
from changeling.images.transforms import resize_square
from changeling.report.page import write_report
from changeling.results.result import Estimate
from changeling.studies.runner import run_experiments
from changeling.studies.settings import Study
from tests import helpers

SIDE = 64


@dataclass(frozen=True)
class Cluster:
    """A photograph, and another that plays the role of its child."""

    parent: Path
    child: Path


def make_photographs(folder: Path, clusters: int = 80) -> list[Cluster]:
    """Write photographs of many sizes, as JPEG with various settings, PNG and WebP, some with EXIF."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(clusters):
        width, height = draw.integers(SIDE, 2 * SIDE, 2)
        photograph = helpers.natural(number, 2 * SIDE).crop((0, 0, int(width), int(height)))
        path = folder / f"{number:03d}.img"
        kind = draw.choice(["jpeg", "exif", "png", "webp"], p=[0.6, 0.2, 0.1, 0.1])
        form = jpeg_encoding(int(draw.integers(60, 98)), int(draw.choice([0, 1, 2])))
        path.write_bytes(encode_image(photograph, {"png": PNG_ENCODING, "webp": Encoding("WEBP")}.get(str(kind), form)))
        if kind == "exif":
            exif = Image.Exif()
            exif[0x0110] = "a camera"
            with Image.open(path) as saved:
                saved.load()
                saved.save(path, "JPEG", exif=exif, qtables="keep", subsampling="keep")
    return pair_photographs(folder.glob("*.img"))


def pair_photographs(files: Iterable[Path]) -> list[Cluster]:
    """Pair photographs: each is a parent once, and once the child of the other.

    Both classes then show the same pictures, so that only the files can distinguish them.
    """
    ordered = sorted(files)
    half = len(ordered) // 2
    pairs = zip(ordered[:half], ordered[half : 2 * half], strict=True)
    return [cluster for first, second in pairs for cluster in (Cluster(first, second), Cluster(second, first))]


def dataset(folder: Path, clusters: Sequence[Cluster], *, matched: bool, by: Sequence[str] = ("sd",)) -> Dataset:
    """Save children as PNG, or both classes with the parent's encoding at the same size."""
    folder.mkdir()
    rows = []
    for number, cluster in enumerate(clusters):
        split: Split = "train" if number // 2 % 2 else "test"  # a pair is in one
        form = read_encoding(read_file(cluster.parent)) if matched else PNG_ENCODING
        parent, child = cluster.parent, folder / f"{number}-child"
        child.write_bytes(encode_image(resize_square(read_image(cluster.child).image, SIDE), form))
        if matched:
            parent = folder / f"{number}-parent"
            parent.write_bytes(encode_image(resize_square(read_image(cluster.parent).image, SIDE), form))
        generator = by[number // 4 % len(by)]
        rows += [
            ImageRow(f"{number}-p", f"c{number}", "parent", str(parent), split),
            ImageRow(f"{number}-c", f"c{number}", "child", str(child), split, generator=generator),
        ]
    return write_dataset(folder, rows)


def evaluate(data: Dataset, generator: str = "sd") -> dict[str, Estimate]:
    """Return the estimates for a generator, by group of file features."""
    (table,) = confounds.run(Context(data, []), ConfoundsSettings()).tables
    return {row.labels["Facts"]: row.cells["test_auroc"] for row in table.rows if row.labels["Generator"] == generator}


def test_unprocessed_parents_and_png_children_are_distinguished_by_their_files(tmp_path: Path) -> None:
    cells = evaluate(dataset(tmp_path / "off", make_photographs(tmp_path / "parents"), matched=False))
    assert list(cells) == ["all facts", "all but bytes per pixel", *FILE_FEATURE_GROUPS]
    assert cells["all facts"].low > 0.9
    assert (cells["all facts"].clusters, cells["all facts"].images) == (40, 80)
    assert all(cells[group].low > 0.5 for group in ("format", "size", "tables"))
    assert not cells["metadata"].low > 0.9  # few parents have any


def test_classes_with_matched_encodings_are_not_distinguished(tmp_path: Path) -> None:
    cells = evaluate(dataset(tmp_path / "matched", make_photographs(tmp_path / "parents"), matched=True))
    assert all(cell.low <= 0.5 <= cell.high for cell in cells.values())
    assert all(cells[name].value == 0.5 for name in ("format", "size", "tables", "subsampling", "metadata"))


@pytest.mark.parametrize("matched", [False, True])
def test_real_photographs_are_distinguished_only_if_encodings_differ(matched: bool, tmp_path: Path) -> None:
    files = helpers.photographs(tmp_path / "photographs", 80)
    cell = evaluate(dataset(tmp_path / "data", pair_photographs(files), matched=matched))["all facts"]
    assert (cell.low <= 0.5 <= cell.high) if matched else cell.low > 0.9


def test_each_generator_is_compared_with_its_own_parents_and_shown_in_the_report(tmp_path: Path) -> None:
    clusters = make_photographs(tmp_path / "parents", clusters=80)
    result = confounds.run(
        Context(dataset(tmp_path / "two", clusters, matched=False, by=("a", "b")), []), ConfoundsSettings()
    )
    (table,) = result.tables
    counts = {row.labels["Generator"]: row.cells["test_auroc"].images for row in table.rows}
    assert counts == {"all": 80, "a": 40, "b": 40}
    assert "part of the accuracy of a detector on these images may come from the files" in result.summary
    page = write_report([result], tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("all facts", *FILE_FEATURE_GROUPS))


def test_missing_files_are_excluded_and_counted(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", make_photographs(tmp_path / "parents", clusters=40), matched=False)
    data.resolve_path(data.column("path")[0]).unlink()
    result = confounds.run(Context(data, []), ConfoundsSettings())
    assert "Excluded because the file cannot be read: 1 image." in result.notes
    assert result.tables[0].rows[0].cells["test_auroc"].images == 39


def test_a_dataset_without_files_is_not_run_and_the_result_gives_the_reason() -> None:
    (result,) = run_experiments(Dataset(BUNDLED["bundled:true-clusters"]), Study(experiments=("confounds",)))
    assert result.summary == "Not run: the image files do not exist."


def test_a_split_with_one_class_is_an_error(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", make_photographs(tmp_path / "parents", clusters=20), matched=False)
    for path in data.column("path")[(data.labels == 1) & (data.column("split") == "train")]:
        data.resolve_path(path).unlink()
    with pytest.raises(DatasetError, match="the train split needs real and fake images whose files can be read"):
        confounds.run(Context(data, []), ConfoundsSettings())


def test_a_result_is_reproducible_with_the_same_seed(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", make_photographs(tmp_path / "parents", clusters=40), matched=True)
    first, second = (confounds.run(Context(data, [], seed=3), ConfoundsSettings()) for _ in range(2))
    assert first == second


def test_clusters_are_sampled_if_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path / "data", make_photographs(tmp_path / "parents", clusters=40), matched=False)
    monkeypatch.setattr(confounds, "MAX_CLUSTERS", 6)
    rows = confounds.sample_rows(data, seed=0)
    assert len(rows) == 2 * 6 * 2
    assert len(set(data.clusters[rows])) == 12
    assert set(confounds.sample_rows(data, seed=1)) != set(rows)


def test_the_summary_names_all_groups_with_the_highest_auroc(tmp_path: Path) -> None:
    """Here nothing but the Huffman tables."""
    folder, rows = tmp_path / "data", []
    folder.mkdir()
    for number in range(80):
        split: Split = "train" if number % 2 else "test"
        for optimised in (False, True):
            name = f"{number}-{optimised}"
            helpers.natural(number).save(folder / name, "JPEG", optimize=optimised)
            role: Role = "child" if optimised else "parent"
            rows.append(ImageRow(name, f"c{number}", role, name, split, generator="sd" if optimised else None))
    data = write_dataset(folder, rows)
    cells = evaluate(data)
    assert cells["coding"].value == 1
    assert all(cells[group].value == 0.5 for group in ("format", "size", "tables", "subsampling", "metadata"))
    summary = confounds.run(Context(data, []), ConfoundsSettings()).summary
    assert "Of the single groups, coding and bytes per pixel have the highest AUROC, 100.0 %." in summary


def test_bytes_per_pixel_that_depend_on_the_picture_are_not_attributed_to_the_file(tmp_path: Path) -> None:
    """Smooth children, in their parents' form."""
    folder, rows = tmp_path / "data", []
    folder.mkdir()
    for number in range(80):
        split: Split = "train" if number % 2 else "test"
        picture = helpers.natural(number)
        for role, image in (("parent", picture), ("child", picture.filter(ImageFilter.GaussianBlur(4)))):
            name = f"{number}-{role}"
            image.save(folder / name, "JPEG", quality=80)
            generator = "sd" if role == "child" else None
            rows.append(ImageRow(name, f"c{number}", cast(Role, role), name, split, generator=generator))
    result = confounds.run(Context(write_dataset(folder, rows), []), ConfoundsSettings())
    assert re.search(
        r"AUROC of [\d.]+ % on 80 test images .*, but without bytes per pixel, which also depends on the picture, "
        r"50\.0 % \([\d.]+ % to [\d.]+ %\): no better than chance\.$",
        result.summary,
    )
