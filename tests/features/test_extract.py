"""Extraction, and resuming an extraction that was killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import FeatureError
from changeling.features.extract import extract
from changeling.features.parts import feature_folder, feature_parts
from changeling.features.store import list_extracted_backbones, load_features
from changeling.images.augmentations import Augmentation
from changeling.images.decode import DecodedImage, ImageFile
from changeling.images.transforms import Preprocessing
from tests import helpers
from tests.hostile import saved

PART_SIZE = 12  # one batch and a half


extract_small_parts = partial(extract, part_size=PART_SIZE)
load_small_parts = partial(load_features, part_size=PART_SIZE)


def part_files(dataset: Dataset, name: str) -> dict[str, bytes]:
    """All files in the folder of a backbone's features."""
    return helpers.contents(feature_folder(dataset, name))


def test_features_are_in_the_order_of_the_rows(tiny_dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    reports: list[tuple[str, int, int]] = []
    summary = extract_small_parts(tiny_dataset, tiny_backbone, progress=lambda *report: reports.append(report))
    count = len(tiny_dataset)
    assert (summary.encoded, summary.existing, summary.failed.total()) == (count, 0, 0)
    features = load_small_parts(tiny_dataset, tiny_backbone.name)
    assert features.values.shape == (count, tiny_backbone.dim)
    assert features.valid.all()
    assert features.header.weights == tiny_backbone.weights
    assert features.header.preprocessing == tiny_backbone.preprocessing.hash
    for row, path in enumerate(tiny_dataset.column("path")):
        with Image.open(tiny_dataset.resolve_path(path)) as image:
            expected = tiny_backbone.encode(tiny_backbone.preprocessing(image)[None])[0]
        np.testing.assert_allclose(features.values[row], expected, rtol=1e-4, atol=1e-5)
    done = [count for _, count, _ in reports]
    assert done == sorted(done)
    assert reports[-1] == (tiny_backbone.name, count, count)


def test_linear_model_separates_the_classes_of_the_tiny_dataset(
    tiny_dataset: Dataset, tiny_backbone: OnnxBackbone
) -> None:
    extract_small_parts(tiny_dataset, tiny_backbone)
    x = load_small_parts(tiny_dataset, tiny_backbone.name).values
    y, train = tiny_dataset.labels, tiny_dataset.column("split") == "train"
    design = np.column_stack([x, np.ones(len(x))])
    ridge = design[train].T @ design[train] + 1e-3 * np.eye(design.shape[1])
    weight = np.linalg.solve(ridge, design[train].T @ (2 * y[train] - 1))
    right = (design @ weight > 0) == (y == 1)
    assert right[~train].mean() > 0.8


def test_second_run_encodes_nothing(tiny_dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    extract_small_parts(tiny_dataset, tiny_backbone)
    before = part_files(tiny_dataset, tiny_backbone.name)
    summary = extract_small_parts(tiny_dataset, tiny_backbone)
    assert (summary.encoded, summary.existing) == (0, len(tiny_dataset))
    assert part_files(tiny_dataset, tiny_backbone.name) == before


def test_only_missing_parts_are_extracted_again(tiny_dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    extract_small_parts(tiny_dataset, tiny_backbone)
    before = part_files(tiny_dataset, tiny_backbone.name)
    feature_parts(tiny_dataset, tiny_backbone.name, PART_SIZE).remove(1)
    summary = extract_small_parts(tiny_dataset, tiny_backbone)
    assert (summary.encoded, summary.existing) == (PART_SIZE, len(tiny_dataset) - PART_SIZE)
    assert part_files(tiny_dataset, tiny_backbone.name) == before


def test_layers_and_views_are_stored_apart(tiny_dataset: Dataset, tiny_onnx: Path) -> None:
    proj, pre = helpers.tiny_backbone(tiny_onnx), helpers.tiny_backbone(tiny_onnx, "pre")
    extract_small_parts(tiny_dataset, proj)
    extract_small_parts(tiny_dataset, pre)
    seen: list[str] = []

    def mirrored(image: Image.Image, image_id: str) -> Image.Image:
        seen.append(image_id)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    extract_small_parts(tiny_dataset, proj, view=Augmentation("mirrored", mirrored))
    assert sorted(seen) == sorted(tiny_dataset.column("image_id"))
    assert set(list_extracted_backbones(tiny_dataset)) == {proj.name, pre.name}  # views are no features to study
    assert load_small_parts(tiny_dataset, pre.name).values.shape[1] == 24
    plain, mirror = (load_small_parts(tiny_dataset, name).values for name in (proj.name, f"{proj.name}+mirrored"))
    assert not np.allclose(plain, mirror)


@pytest.mark.parametrize("other", ["weights", "preprocessing", "images"])
def test_parts_of_another_extraction_are_refused(
    other: str, tiny_dataset: Dataset, tiny_onnx: Path, tmp_path: Path
) -> None:
    backbone = helpers.tiny_backbone(tiny_onnx)
    extract_small_parts(tiny_dataset, backbone)
    before = part_files(tiny_dataset, backbone.name)
    dataset, name = tiny_dataset, backbone.name
    if other == "images":
        rows = [ImageRow(**row) for row in tiny_dataset.images.to_pylist()]
        dataset = write_dataset(tiny_dataset.path, rows[::-1])
    else:
        changed = helpers.TINY.model_copy(update={"interpolation": "bilinear"})
        options = {"weights": "others"} if other == "weights" else {"preprocessing": changed}
        path = helpers.tiny_onnx(tmp_path / "other.onnx", **options)
        backbone = helpers.tiny_backbone(path)
        backbone.name = name
    with pytest.raises(FeatureError, match=f"made with other {other} .* move its folder away"):
        extract_small_parts(dataset, backbone)
    assert part_files(dataset, name) == before


def test_unreadable_images_have_no_feature(tiny_dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    rows = [ImageRow(**row | {"sha256": None}) for row in tiny_dataset.images.to_pylist()]  # broken when imported
    tiny_dataset = write_dataset(tiny_dataset.path, rows)
    files = [tiny_dataset.resolve_path(path) for path in tiny_dataset.column("path")]
    extract_small_parts(tiny_dataset, tiny_backbone, view=Augmentation("none", lambda image, _: image))
    files[0].write_bytes(b"no image")
    files[13].write_bytes(files[13].read_bytes()[:1000])
    files[14].unlink()
    summary = extract_small_parts(tiny_dataset, tiny_backbone)
    again = extract_small_parts(tiny_dataset, tiny_backbone)
    assert (summary.encoded, again.encoded) == (len(tiny_dataset) - 3, 0)
    assert summary.failed == again.failed == {"unsupported": 1, "truncated": 1, "missing": 1}
    features, complete = (
        load_small_parts(tiny_dataset, name) for name in (tiny_backbone.name, f"{tiny_backbone.name}+none")
    )
    assert np.flatnonzero(~features.valid).tolist() == [0, 13, 14]
    assert np.isnan(features.values[~features.valid]).all()
    np.testing.assert_allclose(features.values[features.valid], complete.values[features.valid], rtol=1e-4, atol=1e-5)
    first, second = map(feature_parts(tiny_dataset, tiny_backbone.name, PART_SIZE).read_header, (0, 1))
    assert first.errors.keys() == {0}
    assert second.errors == {13: ("truncated", second.errors[13][1]), 14: ("missing", "no such file")}


def test_dataset_without_any_readable_image_is_refused(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    rows = [ImageRow(f"i{n}", f"c{n}", "parent", f"{n}.png", "train", sha256=str(n)) for n in range(2 * PART_SIZE + 1)]
    dataset = write_dataset(tmp_path / "none", rows)
    with pytest.raises(FeatureError, match=r"not one image can be read \(25 missing\)"):
        extract_small_parts(dataset, tiny_backbone)
    assert not part_files(dataset, tiny_backbone.name)


# SIGKILL at a random moment, then a second run

IMAGES, KILLS = 60, 20


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """A server of processes that start fast, with all modules imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["changeling.features.extract", "onnxruntime", "tests.helpers", __name__])
    return context


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sixty images, of which two are broken."""
    path = tmp_path_factory.mktemp("kill")
    rows = []
    for n in range(IMAGES):
        data = saved(helpers.natural(n), "PNG")
        (path / f"{n}.png").write_bytes(data[:100] if n in (5, 41) else data)
        rows.append(ImageRow(f"i{n}", f"c{n}", "parent", str(path / f"{n}.png"), "train"))
    return write_dataset(path / "dataset", rows)


@pytest.fixture
def dataset(original: Dataset, tmp_path: Path) -> Dataset:
    """The same without features."""
    shutil.copytree(original.path, tmp_path / "dataset", ignore=shutil.ignore_patterns("features"))
    return Dataset(tmp_path / "dataset")


@pytest.fixture(scope="module")
def uninterrupted(original: Dataset, tiny_backbone: OnnxBackbone) -> tuple[dict[str, bytes], float]:
    """The files of an extraction that is not killed, and the seconds that a slow one takes."""
    extract_small_parts(original, tiny_backbone)
    start = time.monotonic()
    extract_small_parts(original, tiny_backbone, view=Augmentation("slow", slow))
    return part_files(original, tiny_backbone.name), time.monotonic() - start


def slow(image: Image.Image, _: str) -> Image.Image:
    time.sleep(0.01)
    return image


def extract_slowly(dataset: Path, onnx: Path, started: multiprocessing.synchronize.Event) -> None:
    """Extract slowly in another process, and never finish the last image, so that no kill is too late."""
    decode = Preprocessing.decode

    def decode_slowly(preprocessing: Preprocessing, file: ImageFile) -> DecodedImage:
        while file.path.endswith(f"/{IMAGES - 1}.png"):
            time.sleep(1)
        time.sleep(0.01)
        return decode(preprocessing, file)

    Preprocessing.decode = decode_slowly  # type: ignore[method-assign, assignment]
    extract_small_parts(Dataset(dataset), helpers.tiny_backbone(onnx), progress=lambda *_: started.set())


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_extraction_is_resumed_with_the_same_bytes(
    seed: int,
    dataset: Dataset,
    uninterrupted: tuple[dict[str, bytes], float],
    tiny_backbone: OnnxBackbone,
    tiny_onnx: Path,
    server: ForkServerContext,
) -> None:
    expected, duration = uninterrupted
    moment = random.Random(seed).uniform(seed / KILLS, (seed + 1) / KILLS) * duration
    started = server.Event()
    process = server.Process(target=extract_slowly, args=(dataset.path, tiny_onnx, started))
    process.start()
    assert started.wait(30)
    time.sleep(moment)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    written = {path.name for path in feature_folder(dataset, tiny_backbone.name).glob("part-*")}
    for name in written:
        assert (feature_folder(dataset, tiny_backbone.name) / name).read_bytes() == expected[name]
    helpers.age_temporary_files(dataset.path)
    summary = extract_small_parts(dataset, tiny_backbone)
    assert summary.existing == PART_SIZE * len(written)
    assert summary.failed == {"truncated": 2}
    assert part_files(dataset, tiny_backbone.name) == expected


def die_before_rename(dataset: Path, onnx: Path) -> None:
    """Extract, and be killed when the third part is written but not renamed yet."""
    replace = Path.replace

    def dying(path: Path, target: Path) -> Path:
        if "00002" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    Path.replace = dying  # type: ignore[method-assign, assignment]
    extract_small_parts(Dataset(dataset), helpers.tiny_backbone(onnx))


def die_while_writing(dataset: Path, onnx: Path) -> None:
    """Extract, and be killed when half of the third part is written."""
    write = Path.write_bytes

    def dying(path: Path, data: bytes) -> int:
        if "00002" in path.name:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    Path.write_bytes = dying  # type: ignore[method-assign, assignment]
    extract_small_parts(Dataset(dataset), helpers.tiny_backbone(onnx))


@pytest.mark.parametrize("die", [die_while_writing, die_before_rename])
def test_part_without_its_final_name_is_extracted_again(
    die: Callable[[Path, Path], None],
    dataset: Dataset,
    uninterrupted: tuple[dict[str, bytes], float],
    tiny_backbone: OnnxBackbone,
    tiny_onnx: Path,
    server: ForkServerContext,
) -> None:
    process = server.Process(target=die, args=(dataset.path, tiny_onnx))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert len(part_files(dataset, tiny_backbone.name)) == 3  # two parts and what was not renamed
    helpers.age_temporary_files(dataset.path)
    assert extract_small_parts(dataset, tiny_backbone).existing == 2 * PART_SIZE
    assert part_files(dataset, tiny_backbone.name) == uninterrupted[0]


def test_replaced_image_file_has_no_feature(tiny_backbone: OnnxBackbone, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "data")
    shutil.copy(dataset.resolve_path(dataset.column("path")[5]), dataset.resolve_path(dataset.column("path")[3]))
    summary = extract_small_parts(dataset, tiny_backbone)
    assert (summary.encoded, summary.failed) == (len(dataset) - 1, {"corrupt": 1})
