from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import ImageRow
from changeling.errors import FeatureError
from changeling.features import store
from changeling.features.store import Header, available, images_hash, load_features, part_path, part_rows, write_part

COUNT = 7


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART", 3)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Seven rows; there are no files behind them, and none is read."""
    return write_dataset(
        tmp_path,
        (ImageRow(f"i{n}", f"c{n // 2}", "parent", f"{n}.png", "train", sha256=f"{n:064x}") for n in range(COUNT)),
    )


def header(dataset: Dataset, start: int, stop: int, **changes: object) -> Header:
    made = Header(
        backbone="b/x:y",
        weights="w",
        preprocessing="p",
        rows=(start, stop),
        images=images_hash(dataset, start, stop),
        errors={4: ("corrupt", "broken")} if start <= 4 < stop else {},
    )
    return made.model_copy(update=changes)


def fill(
    dataset: Dataset, changes: Mapping[str, object] = MappingProxyType({}), dtype: Any = np.float32
) -> NDArray[np.float32]:
    """Write all parts, of which `changes` alter the header of the last; row 4 has no feature."""
    values = np.arange(COUNT * 2, dtype=np.float32).reshape(COUNT, 2) / np.float32(8)
    values[4] = np.nan
    for index, (start, stop) in enumerate(part_rows(COUNT)):
        altered: Mapping[str, object] = changes if stop == COUNT else {}
        write_part(
            part_path(dataset, "b/x:y", index),
            header(dataset, start, stop, **altered),
            values[start:stop].astype(dtype),
        )
    return values


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [(0, 1)]), (3, [(0, 3)]), (4, [(0, 3), (3, 4)]), (7, [(0, 3), (3, 6), (6, 7)])]
)
def test_parts_cover_all_rows_in_order(count: int, rows: list[tuple[int, int]]) -> None:
    assert part_rows(count) == rows


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_written_is_read(dataset: Dataset, dtype: Any) -> None:
    values = fill(dataset, dtype=dtype)
    features = load_features(dataset, "b/x:y")
    np.testing.assert_array_equal(features.values, values)
    assert features.values.dtype == np.float32
    assert features.valid.tolist() == [True, True, True, True, False, True, True]
    assert (features.header.backbone, features.header.weights, features.header.preprocessing) == ("b/x:y", "w", "p")


def test_a_header_says_which_images_have_no_feature_and_why(dataset: Dataset) -> None:
    fill(dataset)
    assert store.read_header(part_path(dataset, "b/x:y", 1)) == header(dataset, 3, 6)
    assert store.read_header(part_path(dataset, "b/x:y", 1)).errors == {4: ("corrupt", "broken")}


def test_part_files_have_plain_names_and_no_leftovers(dataset: Dataset) -> None:
    fill(dataset)
    found = sorted(
        str(path.relative_to(dataset.path)) for path in (dataset.path / "features").rglob("*") if path.is_file()
    )
    assert found == [f"features/b_x_y/part-0000{n}.safetensors" for n in range(3)]


def test_available_names_backbones_as_they_are_called(dataset: Dataset) -> None:
    assert available(dataset) == ()
    fill(dataset)
    write_part(part_path(dataset, "a", 0), header(dataset, 0, 3, backbone="a"), np.zeros((3, 2), np.float32))
    assert available(dataset) == ("a", "b/x:y")


def test_a_missing_part_says_what_to_run(dataset: Dataset) -> None:
    fill(dataset)
    part_path(dataset, "b/x:y", 1).unlink()
    with pytest.raises(FeatureError, match=r"for rows 3 to 5; run `changeling extract .* --backbone b/x:y`"):
        load_features(dataset, "b/x:y")


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
def test_parts_that_do_not_belong_together_are_refused(
    dataset: Dataset, changes: dict[str, object], message: str
) -> None:
    fill(dataset, changes)
    with pytest.raises(FeatureError, match=message):
        load_features(dataset, "b/x:y")


def test_features_of_a_changed_dataset_are_refused(dataset: Dataset) -> None:
    fill(dataset)
    changed = write_dataset(
        dataset.path,
        (ImageRow(f"i{n}", f"c{n}", "parent", f"{n}.png", "train", sha256="f" * 64) for n in range(COUNT)),
    )
    with pytest.raises(FeatureError, match="other images"):
        load_features(changed, "b/x:y")


@pytest.mark.parametrize("broken", ["cut", "noise", "empty", "no header", "wrong header", "folder"])
def test_what_is_not_a_part_is_refused(dataset: Dataset, broken: str) -> None:
    fill(dataset)
    path = part_path(dataset, "b/x:y", 0)
    values = {"features": np.zeros((3, 2), np.float32)}
    if broken in ("cut", "noise", "empty"):
        path.write_bytes({"cut": path.read_bytes()[:-3], "noise": b"\xff" * 99, "empty": b""}[broken])
    elif broken == "folder":
        path.unlink()
        path.mkdir()
    else:
        save_file(values, path, metadata=None if broken == "no header" else {"changeling": "{}"})
    with pytest.raises(FeatureError, match="is not a part of features") as caught:
        load_features(dataset, "b/x:y")
    assert "\n" not in str(caught.value)


def test_a_part_without_features_is_refused(dataset: Dataset) -> None:
    fill(dataset)
    path = part_path(dataset, "b/x:y", 0)
    metadata = {"changeling": header(dataset, 0, 3).model_dump_json()}
    save_file({"something": np.zeros((3, 2), np.float32)}, path, metadata=metadata)
    with pytest.raises(FeatureError, match="is not a part of features"):
        load_features(dataset, "b/x:y")


def test_a_part_of_the_wrong_length_is_refused(dataset: Dataset) -> None:
    fill(dataset)
    write_part(part_path(dataset, "b/x:y", 0), header(dataset, 0, 3), np.zeros((2, 2), np.float32))
    with pytest.raises(FeatureError, match="is not a part of features"):
        load_features(dataset, "b/x:y")


def test_a_write_that_fails_leaves_what_was_there(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(dataset)
    path = part_path(dataset, "b/x:y", 0)
    before = path.read_bytes()

    def failing(target: Path, _: bytes) -> int:
        target.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="disk is full"):
        write_part(path, header(dataset, 0, 3), np.zeros((3, 2), np.float32))
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 3
