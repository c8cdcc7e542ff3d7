"""Features that other programs computed: files in any format give the same parts, and invalid files are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from changeling.errors import ChangelingError, FeatureError
from changeling.features.captions import load_caption_features
from changeling.features.extract import extract
from changeling.features.feature_file import FeatureFile, read_feature_file
from changeling.features.import_features import import_caption_features, import_image_features, list_caption_ids
from changeling.features.parts import feature_folder, feature_parts
from changeling.features.store import list_extracted_backbones, load_features
from tests import helpers
from tests.helpers import run_changeling

FORMATS = ("npy", "safetensors", "safetensors with ids", "lists", "columns")
NAME, DIM = "lab/resnet:v2@pre", 4


def draw_features(ids: list[str], dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=(len(ids), DIM)).astype(dtype)


def write_file(folder: Path, kind: str, ids: list[str], values: NDArray[Any], column: str = "image_id") -> list[str]:
    """Write features; return the arguments that name their files."""
    name = "features." + {"lists": "parquet", "columns": "parquet"}.get(kind, kind.partition(" ")[0])
    path, ids_path = folder / name, folder / "ids.txt"
    if kind == "npy":
        np.save(path, values)
    elif kind == "safetensors":
        save_file({"embeddings": np.ascontiguousarray(values)}, path)
    elif kind == "safetensors with ids":
        save_file({"features": values, "more": values[:1]}, path, metadata={"ids": json.dumps(ids)})
    elif kind == "lists":
        pq.write_table(pa.table({"vector": [*values], column: ids}), path)
    else:
        pq.write_table(pa.table({column: ids} | {f"v{index}": values[:, index] for index in range(DIM)}), path)
    if kind not in ("npy", "safetensors"):
        return [str(path)]
    ids_path.write_text("".join(f"{row_id}\n" for row_id in ids), encoding="utf-8")
    return [str(path), "--ids", str(ids_path)]


def read_file(arguments: list[str]) -> FeatureFile:
    return read_feature_file(Path(arguments[0]), Path(arguments[-1]) if "--ids" in arguments else None)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", FORMATS)
def test_imported_features_are_in_the_order_of_the_rows(
    kind: str, dtype: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    values = draw_features(ids, dtype)
    order = np.random.default_rng(1).permutation(len(ids))
    file = read_file(write_file(tmp_path, kind, [ids[row] for row in order], values[order]))
    assert import_image_features(tiny_dataset, file, NAME, part_size=10) == 0
    features = load_features(tiny_dataset, NAME, part_size=10)
    np.testing.assert_array_equal(features.values, values.astype(np.float32))
    assert features.valid.all()
    assert (features.header.backbone, features.header.weights) == (NAME, file.hash)
    assert list_extracted_backbones(tiny_dataset) == (NAME,)
    assert file.values.dtype == (np.float16 if dtype is np.float16 else np.float32)


def test_images_without_a_row_have_no_feature_and_are_counted(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    values = draw_features(ids)
    absent = [3, 4, 20]
    kept = np.setdiff1d(np.arange(len(ids)), absent)
    arguments = write_file(tmp_path, "lists", [ids[row] for row in kept], values[kept])
    ran = run_changeling("import", "features", tiny_dataset.path, *arguments, "--backbone", "mine")
    assert ran.returncode == 0, ran.stderr
    assert f"mine: features of {len(kept)} of {len(ids)} images; 3 have none in" in ran.stderr
    features = load_features(tiny_dataset, "mine")
    assert np.flatnonzero(~features.valid).tolist() == absent
    assert features.header.errors == dict.fromkeys(absent, ("missing", "no feature in features.parquet"))
    np.testing.assert_array_equal(features.values[kept], values[kept])


def test_interrupted_import_writes_the_parts_that_are_missing(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    file = read_file(write_file(tmp_path, "npy", ids, draw_features(ids)))
    import_image_features(tiny_dataset, file, NAME, part_size=10)
    before = helpers.contents(feature_folder(tiny_dataset, NAME))
    parts = feature_parts(tiny_dataset, NAME, 10)
    parts.remove(1)
    modified = parts.path(0).stat().st_mtime_ns
    import_image_features(tiny_dataset, file, NAME, part_size=10)
    assert helpers.contents(feature_folder(tiny_dataset, NAME)) == before
    assert parts.path(0).stat().st_mtime_ns == modified


def test_features_of_another_file_or_backbone_are_not_overwritten(
    tiny_dataset: Dataset, tiny_backbone: OnnxBackbone, tmp_path: Path
) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    first = read_file(write_file(tmp_path, "npy", ids, draw_features(ids)))
    import_image_features(tiny_dataset, first, "mine")
    extract(tiny_dataset, tiny_backbone)
    before = helpers.contents(tiny_dataset.path / "features")
    second = read_file(write_file(tmp_path, "npy", ids, draw_features(ids) + 1))
    for name in ("mine", tiny_backbone.name):
        with pytest.raises(
            FeatureError, match=r"part-00000\.safetensors has other features; choose another backbone name"
        ):
            import_image_features(tiny_dataset, second, name)
    assert helpers.contents(tiny_dataset.path / "features") == before


@pytest.mark.parametrize("name", ["", "..", "../x", " a", "a b", "a\nb", "-a", "é"])
def test_name_that_is_no_folder_is_refused(name: str, tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    file = read_file(write_file(tmp_path, "npy", ids, draw_features(ids)))
    with pytest.raises(FeatureError, match="begin with a letter or digit"):
        import_image_features(tiny_dataset, file, name)
    assert not (tiny_dataset.path / "features").exists()


def test_unknown_ids_are_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = [*tiny_dataset.column("image_id").tolist(), "x1", "x2"]
    file = read_file(write_file(tmp_path, "npy", ids, draw_features(ids)))
    with pytest.raises(FeatureError, match=r"has 2 ids that no image of .* has: x1, x2"):
        import_image_features(tiny_dataset, file, "mine")
    assert not (tiny_dataset.path / "features").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_features_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    values = draw_features(["a", "b", "c"], np.float64)
    values[1:, 2] = value
    with pytest.raises(FeatureError, match=r"has 2 features that are not finite \(b, c\); leave these rows out"):
        read_file(write_file(tmp_path, "columns", ["a", "b", "c"], values))


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]], ids: str = '["a"]') -> None:
    save_file(tensors, path, metadata={"ids": ids})


ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("f.csv", lambda path: path.write_text("a,1"), "the suffix is not one of .npy, .safetensors, .parquet"),
        ("f.npy", Path.exists, "f.npy cannot be read: No such file"),
        ("f.npy", lambda path: np.save(path, ONE), "has no ids; pass a text file"),
        ("f.npy", lambda path: np.save(path, np.array([object()])), "f.npy cannot be read: Object arrays"),
        ("f.npy", lambda path: path.write_bytes(b"no array"), "f.npy cannot be read: "),
        ("f.safetensors", lambda path: path.write_bytes(b"no tensor"), "f.safetensors cannot be read: "),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE, "b": ONE}), "the tensors are: a, b"),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE}, '"a"'), "are not a JSON list of texts"),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE}, "[]"), "has 0 ids, but f.safetensors 1 row"),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE[0]}), "the features have shape (2,), not (rows"),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE[:0]}, "[]"), "have shape (0, 2), not (rows, D)"),
        ("f.safetensors", lambda path: write_tensors(path, {"a": ONE.astype(int)}), "are int64, not float16, float32"),
        (
            "f.safetensors",
            lambda path: write_tensors(path, {"a": np.ones((2, 2), np.float32)}, '["a", "a"]'),
            "has 1 id with several rows (a); keep one of each",
        ),
        ("f.parquet", lambda path: pq.write_table(pa.table({"id": ["a"]}), path), "no column image_id or caption_id"),
        ("f.parquet", lambda path: pq.write_table(pa.table({"image_id": ["a"]}), path), "one column of lists, or"),
        (
            "f.parquet",
            lambda path: pq.write_table(pa.table({"image_id": ["a", "b"], "v": [[1.0], [1.0, 2.0]]}), path),
            "the features have different lengths: 1, 2",
        ),
        (
            "f.parquet",
            lambda path: pq.write_table(pa.table({"image_id": ["a", "b"], "v": [[1.0], None]}), path),
            "has empty cells; leave out the rows",
        ),
        (
            "f.parquet",
            lambda path: pq.write_table(pa.table({"image_id": ["a"], "v": [[1.0]], "w": [1.0]}), path),
            "must be one column of lists, or columns of numbers only; it has v, w",
        ),
    ],
)
def test_invalid_file_is_an_error_in_one_line(name: str, write: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(ChangelingError) as caught:
        read_feature_file(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_are_given_once(tmp_path: Path) -> None:
    write_file(tmp_path, "npy", ["a"], draw_features(["a"]))
    arguments = write_file(tmp_path, "lists", ["a"], draw_features(["a"]))
    with pytest.raises(FeatureError, match="has ids of its own; leave out the file of ids"):
        read_feature_file(Path(arguments[0]), tmp_path / "ids.txt")


@pytest.mark.parametrize("kind", ["npy", "columns"])
def test_imported_caption_features_are_in_the_order_of_the_captions(
    kind: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = list_caption_ids(tiny_dataset)
    assert ids[:4] == ["c00#0", "c00#1", "c00#2", "c01#0"]
    values = draw_features(ids)
    arguments = write_file(tmp_path, kind, ids[::-1], values[::-1], column="caption_id")
    ran = run_changeling("import", "caption-features", tiny_dataset.path, *arguments, "--backbone", "mine")
    assert ran.returncode == 0, ran.stderr
    assert "mine: features of 36 captions" in ran.stderr
    np.testing.assert_array_equal(load_caption_features(tiny_dataset, "mine"), values)


def test_captions_without_a_row_are_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = list_caption_ids(tiny_dataset)[1:]
    file = read_file(write_file(tmp_path, "npy", ids, draw_features(ids)))
    with pytest.raises(FeatureError, match=r"has no feature of 1 caption \(c00#0\); retrieval needs all of them"):
        import_caption_features(tiny_dataset, file, "mine")


def test_study_runs_on_imported_features(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids, caption_ids = tiny_dataset.column("image_id").tolist(), list_caption_ids(tiny_dataset)
    text = draw_features(caption_ids)
    own_caption = dict(zip(caption_ids, text, strict=True))
    columns = (tiny_dataset.column(name).tolist() for name in ("cluster_id", "caption_index"))
    keys = [f"{cluster}#{0 if np.isnan(index) else int(index)}" for cluster, index in zip(*columns, strict=True)]
    values = np.array([own_caption[key] for key in keys])
    for command, row_ids, rows in (("features", ids, values), ("caption-features", caption_ids, text)):
        arguments = write_file(tmp_path, "npy", row_ids, rows)
        assert run_changeling("import", command, tiny_dataset.path, *arguments, "--backbone", NAME).returncode == 0
    (tmp_path / "study.toml").write_text(
        f'dataset = "{tiny_dataset.path.name}"\nbackbones = ["{NAME}"]\nexperiments = ["distances", "retrieval"]\n'
    )
    planned = run_changeling("study", tmp_path / "study.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "all features exist" in planned.stdout
    studied = run_changeling("study", tmp_path / "study.toml")
    assert studied.returncode == 0, studied.stderr
    result = json.loads((tmp_path / "study" / "results" / "retrieval.json").read_text())
    cells = result["tables"][0]["rows"][0]["cells"]
    assert {cells[name]["value"] for name in cells if "exact" in name} == {1.0}


def test_study_of_imported_features_without_those_of_captions_is_planned(tiny_dataset: Dataset, tmp_path: Path) -> None:
    ids = tiny_dataset.column("image_id").tolist()
    arguments = write_file(tmp_path, "npy", ids, draw_features(ids))
    assert run_changeling("import", "features", tiny_dataset.path, *arguments, "--backbone", "mine").returncode == 0
    (tmp_path / "study.toml").write_text(f'dataset = "{tiny_dataset.path.name}"\nbackbones = ["mine"]\n')
    planned = run_changeling("study", tmp_path / "study.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "retrieval" in planned.stdout


def test_header_can_be_written_from_the_description_in_the_documentation(tiny_dataset: Dataset, tmp_path: Path) -> None:
    """Without the functions of the store."""
    table = pq.read_table(tiny_dataset.path / "images.parquet").slice(0, 256)
    ids, file_hashes = table["image_id"].to_pylist(), table["sha256"].to_pylist()
    header = {
        "backbone": "by-hand",
        "weights": "any text",
        "preprocessing": "another",
        "rows": [0, len(ids)],
        "images": hashlib.sha256(json.dumps([ids, file_hashes]).encode()).hexdigest()[:12],
        "errors": {"1": ["missing", "it was not there"]},
    }
    values = draw_features(ids)
    values[1] = np.nan
    folder = tiny_dataset.path / "features" / "by-hand"
    folder.mkdir(parents=True)
    save_file({"features": values}, folder / "part-00000.safetensors", metadata={"changeling": json.dumps(header)})
    texts = tiny_dataset.captions["caption"].to_pylist()
    caption_header = header | {
        "preprocessing": "",
        "rows": [0, len(texts)],
        "images": hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12],
        "errors": {},
    }
    text_values = draw_features(texts)
    metadata = {"changeling": json.dumps(caption_header)}
    save_file({"features": text_values}, folder / "captions-00000.safetensors", metadata=metadata)
    np.testing.assert_array_equal(load_features(tiny_dataset, "by-hand").values, values)
    np.testing.assert_array_equal(load_caption_features(tiny_dataset, "by-hand"), text_values)
