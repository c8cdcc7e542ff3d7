from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from changeling.backbones.onnx import OnnxBackbone
from changeling.backbones.registry import TextBackbone
from changeling.datasets import dataset as dataset_module
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import FeatureError
from changeling.features.captions import extract_captions, load_caption_features
from changeling.features.extract import extract
from changeling.features.parts import FeatureHeader, FeatureParts, caption_parts, feature_parts, store_name
from changeling.features.store import count_missing_rows, has_features, list_extracted_backbones, load_features
from changeling.images.augmentations import Augmentation

COUNT, PART_SIZE = 7, 3
BACKBONE = "b/x:y"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven rows without image files."""
    return write_dataset(
        tmp_path,
        (ImageRow(f"i{n}", f"c{n // 2}", "parent", f"{n}.png", "train", sha256=f"{n:064x}") for n in range(COUNT)),
    )


def parts_of(dataset: Dataset, backbone: str = BACKBONE) -> FeatureParts:
    return feature_parts(dataset, backbone, PART_SIZE)


def make_header(dataset: Dataset, index: int, **changes: object) -> FeatureHeader:
    header = FeatureHeader(
        backbone=BACKBONE,
        weights="w",
        preprocessing="p",
        rows=parts_of(dataset).row_range(index),
        images=dataset.hash_rows(PART_SIZE)[index],
        errors={4: ("corrupt", "broken")} if index == 1 else {},
    )
    return header.model_copy(update=changes)


def write_features(
    dataset: Dataset, changes: Mapping[str, object] = MappingProxyType({}), dtype: Any = np.float32
) -> NDArray[np.float32]:
    """Write all parts, of which `changes` alter the header of the last; row 4 has no feature."""
    values = np.arange(COUNT * 2, dtype=np.float32).reshape(COUNT, 2) / np.float32(8)
    values[4] = np.nan
    parts = parts_of(dataset)
    for index in parts.indices:
        header = make_header(dataset, index, **(changes if index == parts.indices[-1] else {}))
        parts.write(index, header, values[slice(*parts.row_range(index))].astype(dtype))
    return values


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_written_features_are_read(dataset: Dataset, dtype: Any) -> None:
    values = write_features(dataset, dtype=dtype)
    features = load_features(dataset, BACKBONE, PART_SIZE)
    np.testing.assert_array_equal(features.values, values)
    assert features.values.dtype == np.float32
    assert features.valid.tolist() == [True, True, True, True, False, True, True]
    assert (features.header.backbone, features.header.weights, features.header.preprocessing) == ("b/x:y", "w", "p")


def test_header_holds_the_errors_of_images_without_a_feature(dataset: Dataset) -> None:
    write_features(dataset)
    assert parts_of(dataset).read_header(1) == make_header(dataset, 1)
    assert parts_of(dataset).read_header(1).errors == {4: ("corrupt", "broken")}


def test_part_files_have_plain_names_and_no_temporary_files_remain(dataset: Dataset) -> None:
    write_features(dataset)
    names = sorted(
        str(path.relative_to(dataset.path)) for path in (dataset.path / "features").rglob("*") if path.is_file()
    )
    assert names == [f"features/b_x_y/part-0000{n}.safetensors" for n in range(3)]


def test_backbones_are_listed_by_name(dataset: Dataset) -> None:
    assert list_extracted_backbones(dataset) == ()
    write_features(dataset)
    parts_of(dataset, "a").write(0, make_header(dataset, 0, backbone="a"), np.zeros((3, 2), np.float32))
    assert list_extracted_backbones(dataset) == ("a", "b/x:y")


def test_error_of_a_missing_part_names_the_command(dataset: Dataset) -> None:
    write_features(dataset)
    parts_of(dataset).remove(1)
    with pytest.raises(FeatureError, match=r"for rows 3 to 5; run `changeling extract .* --backbone b/x:y`"):
        load_features(dataset, BACKBONE, PART_SIZE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "other"}, "different weights or preprocessing"),
        ({"preprocessing": "other"}, "different weights or preprocessing"),
        ({"backbone": "other"}, "different weights or preprocessing"),
        ({"images": "other"}, "other images"),
        ({"rows": (5, 6)}, "other images"),
    ],
    ids=str,
)
def test_parts_of_different_extractions_are_refused(dataset: Dataset, changes: dict[str, object], message: str) -> None:
    write_features(dataset, changes)
    with pytest.raises(FeatureError, match=message):
        load_features(dataset, BACKBONE, PART_SIZE)


def test_features_of_a_changed_dataset_are_refused(dataset: Dataset) -> None:
    write_features(dataset)
    changed = write_dataset(
        dataset.path,
        (ImageRow(f"i{n}", f"c{n}", "parent", f"{n}.png", "train", sha256="f" * 64) for n in range(COUNT)),
    )
    with pytest.raises(FeatureError, match="other images"):
        load_features(changed, BACKBONE, PART_SIZE)


@pytest.mark.parametrize("broken", ["cut", "noise", "empty", "no header", "wrong header", "folder"])
def test_file_that_is_not_a_part_is_refused(dataset: Dataset, broken: str) -> None:
    write_features(dataset)
    path = parts_of(dataset).path(0)
    values = {"features": np.zeros((3, 2), np.float32)}
    if broken in ("cut", "noise", "empty"):
        path.write_bytes({"cut": path.read_bytes()[:-3], "noise": b"\xff" * 99, "empty": b""}[broken])
    elif broken == "folder":
        path.unlink()
        path.mkdir()
    else:
        save_file(values, path, metadata=None if broken == "no header" else {"changeling": "{}"})
    with pytest.raises(FeatureError, match="is not a part of features") as caught:
        load_features(dataset, BACKBONE, PART_SIZE)
    assert "\n" not in str(caught.value)


def test_part_without_features_is_refused(dataset: Dataset) -> None:
    write_features(dataset)
    path = parts_of(dataset).path(0)
    metadata = {"changeling": make_header(dataset, 0).model_dump_json()}
    save_file({"something": np.zeros((3, 2), np.float32)}, path, metadata=metadata)
    with pytest.raises(FeatureError, match="is not a part of features"):
        load_features(dataset, BACKBONE, PART_SIZE)


def test_part_of_the_wrong_length_is_refused(dataset: Dataset) -> None:
    write_features(dataset)
    parts_of(dataset).write(0, make_header(dataset, 0), np.zeros((2, 2), np.float32))
    with pytest.raises(FeatureError, match="is not a part of features"):
        load_features(dataset, BACKBONE, PART_SIZE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_feature_that_is_not_finite_is_refused_unless_its_image_failed(dataset: Dataset, value: float) -> None:
    values, parts = write_features(dataset), parts_of(dataset)
    values[5, 1] = value  # row 4 is listed as an error
    parts.write(1, make_header(dataset, 1), values[slice(*parts.row_range(1))])
    with pytest.raises(FeatureError, match=r"part-00001\.safetensors: the feature of row 5 is not finite"):
        load_features(dataset, BACKBONE, PART_SIZE)


def test_failed_write_keeps_the_existing_part(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write_features(dataset)
    path = parts_of(dataset).path(0)
    before = path.read_bytes()

    def failing(target: Path, _: bytes) -> int:
        target.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="disk is full"):
        parts_of(dataset).write(0, make_header(dataset, 0), np.zeros((3, 2), np.float32))
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 3


def test_missing_rows_are_counted(dataset: Dataset) -> None:
    assert count_missing_rows(dataset, BACKBONE, PART_SIZE) == COUNT
    write_features(dataset)
    assert count_missing_rows(dataset, BACKBONE, PART_SIZE) == 0
    parts_of(dataset).remove(1)
    parts_of(dataset).remove(2)
    assert count_missing_rows(dataset, BACKBONE, PART_SIZE) == 4


def test_missing_rows_of_other_images_are_refused(dataset: Dataset) -> None:
    write_features(dataset, {"images": "other"})
    with pytest.raises(FeatureError, match=r"part-00002\.safetensors was made from other images"):
        count_missing_rows(dataset, BACKBONE, PART_SIZE)


def test_backbone_has_features_unless_every_image_failed(dataset: Dataset) -> None:
    parts, failed = parts_of(dataset), np.full((PART_SIZE, 2), np.nan, np.float32)
    assert has_features(dataset, BACKBONE, PART_SIZE)  # they may still be extracted
    errors = dict.fromkeys(range(len(dataset)), ("corrupt", "broken"))
    parts.write(0, make_header(dataset, 0, errors=errors), failed)
    parts.write(1, make_header(dataset, 1, errors=errors), failed)
    assert has_features(dataset, BACKBONE, PART_SIZE)
    parts.write(2, make_header(dataset, 2, errors=errors), failed[:1])
    assert not has_features(dataset, BACKBONE, PART_SIZE)
    some = np.array([[np.nan, 1], [1, 2], [np.nan, np.nan]], np.float32)
    parts.write(1, make_header(dataset, 1, errors=errors), some)
    assert has_features(dataset, BACKBONE, PART_SIZE)


def test_rows_of_a_dataset_are_hashed_once(
    tiny_dataset: Dataset, tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all that compare features with the images of a dataset, and for all backbones together."""
    hashed: list[str] = []
    hash_rows = dataset_module._hash_rows

    def count_and_hash(ids: list[str], file_hashes: list[str | None]) -> str:
        hashed.extend(ids)
        return hash_rows(ids, file_hashes)

    monkeypatch.setattr(dataset_module, "_hash_rows", count_and_hash)
    for view in (None, Augmentation("same", lambda image, _: image)):
        extract(tiny_dataset, tiny_backbone, view=view, part_size=12)
        extract(tiny_dataset, tiny_backbone, view=view, part_size=12)
        name = store_name(tiny_backbone.name, view.name if view else "")
        assert count_missing_rows(tiny_dataset, name, part_size=12) == 0
        load_features(tiny_dataset, name, part_size=12)
    assert hashed == tiny_dataset.column("image_id").tolist()


class LetterCounter:
    """A text tower whose feature of a caption is how often it has the letters a to d."""

    name, weights = "letters", "w"

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[caption.count(letter) for letter in "abcd"] for caption in captions], np.float32)


def test_captions_are_stored_in_parts(tiny_dataset: Dataset) -> None:
    text_tower = cast(TextBackbone, LetterCounter())
    captions = tiny_dataset.captions["caption"].to_pylist()
    assert load_caption_features(tiny_dataset, "letters") is None
    for _ in range(2):
        extract_captions(tiny_dataset, text_tower, part_size=10)
    features = load_caption_features(tiny_dataset, "letters", part_size=10)
    assert features is not None
    np.testing.assert_array_equal(features, text_tower.encode_text(captions))
    parts = caption_parts(tiny_dataset, "letters", 10)
    assert [path.name for path in parts.paths] == [f"captions-0000{index}.safetensors" for index in range(4)]
    parts.remove(2)
    with pytest.raises(FeatureError, match=r"captions-00002\.safetensors is missing: extract letters again"):
        load_caption_features(tiny_dataset, "letters", part_size=10)


def test_caption_feature_that_is_not_finite_is_refused(tiny_dataset: Dataset) -> None:
    extract_captions(tiny_dataset, cast(TextBackbone, LetterCounter()), part_size=10)
    parts = caption_parts(tiny_dataset, "letters", 10)
    features = parts.read(1)
    features[2, 0] = np.nan
    parts.write(1, parts.read_header(1), features)
    with pytest.raises(FeatureError, match=r"captions-00001\.safetensors: the feature of row 12 is not finite"):
        load_caption_features(tiny_dataset, "letters", part_size=10)


def test_part_of_other_captions_is_refused(tiny_dataset: Dataset) -> None:
    text_tower = cast(TextBackbone, LetterCounter())
    extract_captions(tiny_dataset, text_tower, part_size=10)
    parts = caption_parts(tiny_dataset, "letters", 10)
    parts.write(1, parts.read_header(1).model_copy(update={"images": "other"}), parts.read(1))
    with pytest.raises(FeatureError, match=r"captions-00001\.safetensors was made from other captions or weights"):
        extract_captions(tiny_dataset, text_tower, part_size=10)
    with pytest.raises(FeatureError, match=r"captions-00001\.safetensors was made from other captions; remove it"):
        load_caption_features(tiny_dataset, "letters", part_size=10)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("what", ["images", "captions"])
def test_full_disk_is_an_error_in_one_line(
    what: str, code: int, tiny_dataset: Dataset, tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _: bytes) -> int:
        raise OSError(code, os.strerror(code), str(path))

    def extract_all() -> None:
        if what == "images":
            extract(tiny_dataset, tiny_backbone)
        extract_captions(tiny_dataset, cast(TextBackbone, LetterCounter()))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FeatureError) as caught:
        extract_all()
    assert str(caught.value).startswith(f"{tiny_dataset.path}: the disk is full; finished parts are kept")
    assert "\n" not in str(caught.value)
