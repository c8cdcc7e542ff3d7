"""Hugging Face datasets on disk: written by `datasets` where that is installed, and by hand."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from changeling.datasets.dataset import Dataset
from changeling.datasets.image_files import store_image
from changeling.datasets.importers import table_images
from changeling.datasets.importers.huggingface import HuggingFaceImporter, read_huggingface
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.errors import DatasetError
from tests.datasets.files import picture, rows
from tests.helpers import FileOpens

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data := io.BytesIO(), kind)
    return data.getvalue()


def cell(seed: int, kind: str = "JPEG", path: str | None = None) -> dict[str, Any]:
    return {"bytes": encoded(seed, kind), "path": path}


def save(folder: Path, columns: Mapping[str, Any], **classes: list[str]) -> Path:
    """Write columns as `save_to_disk` does, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    features |= {name: {"names": names, "_type": "ClassLabel"} for name, names in classes.items()}
    arrays = {name: pa.array(values, FILE if name == "image" else None) for name, values in columns.items()}
    features["image"] = {"_type": "Image"}
    table = pa.table(arrays).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    half = (len(table) + 1) // 2
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    for name, part in zip(names, (table[:half], table[half:]), strict=True):
        with pa.ipc.new_stream(folder / name, part.schema) as stream:
            stream.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


IMAGES = {"image": [cell(0), cell(1)]}


def imported(folder: Path, tmp_path: Path) -> Dataset:
    output = tmp_path / "out"
    return import_dataset(read_huggingface(folder, output), output)


def read_columns(dataset: Dataset, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in dataset.images.to_pylist()]


def test_what_datasets_saved_comes_back_byte_for_byte(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["fake", "real"]),
            "cluster_id": datasets.Value("string"),
            "captions": datasets.List(datasets.Value("string")),
            "generator": datasets.Value("string"),
        }
    )
    cells = [cell(0, "JPEG", "a.jpg"), cell(1, "PNG"), cell(2, "WEBP", "c.webp"), cell(3, "GIF")]
    columns = {
        "image": cells,
        "label": [1, 0, 1, 0],
        "cluster_id": ["x", "x", "y", "y"],
        "captions": [["a cat", "a  tabby"], [], [], []],
        "generator": [None, "sd-1.4", None, "sdxl"],
    }
    complete = datasets.Dataset.from_dict(columns, features=features)
    datasets.disable_progress_bars()
    both = datasets.DatasetDict({"train": complete.select([0, 1]), "validation": complete.select([3, 2])})
    both.save_to_disk(tmp_path / "saved")
    dataset = imported(tmp_path / "saved", tmp_path)
    assert read_columns(dataset, "image_id", "cluster_id", "role", "generator", "split", "format", "source") == [
        ("train/0", "x", "parent", None, "train", "JPEG", "saved"),
        ("train/1", "x", "child", "sd-1.4", "train", "PNG", "saved"),
        ("validation/0", "y", "child", "sdxl", "val", "GIF", "saved"),
        ("validation/1", "y", "parent", None, "val", "WEBP", "saved"),
    ]
    assert [(tmp_path / "out" / path).read_bytes() for path in dataset.column("path")] == [
        cells[number]["bytes"] for number in (0, 1, 3, 2)
    ]
    assert [Path(path).suffix for path in dataset.column("path")] == [".jpg", ".png", ".gif", ".webp"]
    assert dataset.captions["caption"].to_pylist() == ["a cat", "a tabby"]
    complete.to_parquet(tmp_path / "hub/data/train-00000-of-00001.parquet")
    downloaded = import_dataset(read_huggingface(tmp_path / "hub", tmp_path / "out2"), tmp_path / "out2")
    assert sorted(downloaded.column("sha256")) == sorted(hashlib.sha256(some["bytes"]).hexdigest() for some in cells)
    assert downloaded.labels.tolist() == [0, 1, 0, 1]


def test_a_dataset_stays_whole_where_it_is_moved(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(0), cell(1)], "role": ["parent", "child"]})
    dataset = imported(folder, tmp_path)
    moved = Dataset((tmp_path / "out").rename(tmp_path / "moved"))
    assert [moved.resolve_path(path).read_bytes() for path in dataset.column("path")] == [encoded(0), encoded(1)]


def test_each_child_finds_its_caption(tmp_path: Path) -> None:
    columns = {
        "image": [cell(number) for number in range(7)],
        "role": ["child", "child", "parent", "child", "child", "child", "child"],
        "group": ["x", "x", "x", "x", "y", "y", "z"],
        "captions": [None, None, ["a", "b", "a"], None, None, None, ["only"]],
        "caption": ["b", "a", None, "c", "q", "p", None],
        "caption_index": [None, 2, None, None, 4, None, None],
    }
    dataset = imported(save(tmp_path / "saved", columns), tmp_path)
    assert read_columns(dataset, "cluster_id", "caption_index") == [
        ("x", 1),
        ("x", 2),  # of two alike, as it is said
        ("x", None),
        ("x", 3),  # not in the list, so it joins it
        ("y", 0),  # the list is made of what the children bring
        ("y", 1),
        ("z", 0),
    ]
    captions = [(row["cluster_id"], row["caption"]) for row in dataset.captions.to_pylist()]
    assert captions == [("x", "a"), ("x", "b"), ("x", "a"), ("x", "c"), ("y", "q"), ("y", "p"), ("z", "only")]


def test_images_of_a_cluster_with_different_captions_are_refused(tmp_path: Path) -> None:
    columns = {
        "image": [cell(0), cell(1)],
        "role": ["parent", "parent"],
        "group": ["x", "x"],
        "captions": [["a", "b"], ["c"]],
    }
    with pytest.raises(DatasetError, match="has the caption 'c', which the captions of another image of cluster x"):
        imported(save(tmp_path / "saved", columns), tmp_path)


def test_numbers_of_classes_stand_for_their_names(tmp_path: Path) -> None:
    columns = {"label": [1, 0], "generator": [0, 1], "split": ["test", "Dev"], "image_id": ["one", "two"]}
    folder = save(tmp_path / "saved", {**IMAGES, **columns}, label=["fake", "real"], generator=["none", "flux"])
    assert read_columns(imported(folder, tmp_path), "image_id", "role", "generator", "split") == [
        ("one", "parent", None, "test"),
        ("two", "child", "flux", "val"),
    ]


@pytest.mark.parametrize(
    "label", [[0, 1], [False, True], [0.0, 1.0], ["REAL", "Fake"], ["parent", "child"], ["0", "1"]]
)
def test_labels_are_known_in_many_ways(label: list[Any], tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(0), cell(1)], "label": label})
    assert imported(folder, tmp_path).column("role").tolist() == ["parent", "child"]


def test_a_lone_split_says_nothing_of_train_and_test(tmp_path: Path) -> None:
    columns = {"image": [cell(number) for number in range(30)], "label": [number % 2 for number in range(30)]}
    save(tmp_path / "saved/train", columns)
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(set(imported(tmp_path / "saved", tmp_path).column("split"))) == 3


@pytest.mark.parametrize("ending", ["", "-00000-of-00001", "-00000-of-00001-b42a775f407cee45"])
def test_parquet_files_are_called_as_their_splits(ending: str, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    for number, split in enumerate(("train", "Test")):
        table = pa.table({"image": pa.array([cell(number)], FILE), "label": [number]})
        pq.write_table(table, tmp_path / f"hub/{split}{ending}.parquet")
    assert read_columns(imported(tmp_path / "hub", tmp_path), "image_id", "split") == [
        ("Test/0", "test"),
        ("train/0", "train"),
    ]
    pq.write_table(table, tmp_path / "hub/more.parquet")
    with pytest.raises(DatasetError, match="hub: the split without a name is not one of train, test, val"):
        list(read_huggingface(tmp_path / "hub", tmp_path / "out2"))


def test_nothing_is_written_where_a_later_split_is_wrong(tmp_path: Path) -> None:
    save(tmp_path / "saved/train", {**IMAGES, "label": [0, 1]})
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "more"]}')
    for columns, message in (({"kind": [0, 1]}, "no column role"), ({"label": [0, 1]}, "the split more is not one of")):
        save(tmp_path / "saved/more", {**IMAGES, **columns})
        with pytest.raises(DatasetError, match=message):
            imported(tmp_path / "saved", tmp_path)
    assert not (tmp_path / "out").exists()
    save(tmp_path / "saved/more", {**IMAGES, "label": [0, 1], "split": ["val", "val"]})
    assert imported(tmp_path / "saved", tmp_path).column("split").tolist() == ["train", "train", "val", "val"]


def test_images_that_are_files_stay_where_they_are(tmp_path: Path) -> None:
    picture(tmp_path / "saved/inside/a.jpg")
    beyond = picture(tmp_path / "elsewhere/b.jpg")
    cells = [
        {"bytes": None, "path": "inside/a.jpg"},
        {"bytes": None, "path": str(beyond)},
        {"bytes": None, "path": "c"},
    ]
    dataset = imported(save(tmp_path / "saved", {"image": cells, "label": [0, 1, 1]}), tmp_path)
    assert dataset.column("path").tolist() == [str(tmp_path / "saved/inside/a.jpg"), str(beyond), f"{tmp_path}/saved/c"]
    assert dataset.column("status").tolist() == ["ok", "ok", "missing"]
    assert not (tmp_path / "out/images").exists()


def test_bad_images_are_rows(tmp_path: Path) -> None:
    cells = [None, {"bytes": None, "path": None}, {"bytes": b"", "path": "x.png"}, {"bytes": b"nonsense", "path": "\0"}]
    dataset = imported(save(tmp_path / "saved", {"image": [*cells, cell(0)], "label": [0, 1, 0, 1, 0]}), tmp_path)
    assert dataset.column("status").tolist() == ["empty", "empty", "empty", "unsupported", "ok"]


def test_an_import_that_fails_leaves_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(0), cell(1)], "label": [0, 1]})

    def full(dataset: Path, number: int, *more: Any) -> str:
        if number == 1:
            raise KeyboardInterrupt
        return store_image(dataset, number, *more)

    with monkeypatch.context() as patch:
        patch.setattr(table_images, "store_image", full)
        with pytest.raises(KeyboardInterrupt):
            HuggingFaceImporter(folder).import_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert read_columns(HuggingFaceImporter(folder).import_to(tmp_path / "out"), "status") == [("ok",), ("ok",)]


def test_images_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(0), cell(1)], "label": [0, 1]})
    mine = tmp_path / "out" / "images" / "0000" / "0000000.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"0000000.jpg exists already; choose another output folder"):
        HuggingFaceImporter(folder).import_to(tmp_path / "out")
    assert mine.read_bytes() == b"mine"


def test_a_folder_of_images_becomes_a_dataset_in_place(tmp_path: Path) -> None:
    picture(tmp_path / "pets/images/a.png")
    (tmp_path / "pets/metadata.csv").write_text("file_name,label\nimages/a.png,real\n")
    assert read_columns(HuggingFaceImporter(tmp_path / "pets").import_to(tmp_path / "pets"), "status") == [("ok",)]


@pytest.mark.parametrize("names", [5, {"a": 1}, "real", ["real", 1], None], ids=repr)
def test_names_of_classes_that_are_no_names_are_passed_over(names: Any, tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {**IMAGES, "label": [0, 1]}, label=names)
    assert read_columns(imported(folder, tmp_path), "role") == [("parent",), ("child",)]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.duration("s"), pa.timestamp("us", "UTC")], ids=str)
def test_values_that_python_cannot_hold_are_one_line(kind: pa.DataType, tmp_path: Path) -> None:
    far = pa.array([2**62, 2**62]).cast(kind)
    folder = save(tmp_path / "saved", {**IMAGES, "label": [0, 1], "group": far})
    with pytest.raises(DatasetError, match="cannot be read"):
        imported(folder, tmp_path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_folder_of_images_with_a_list(kind: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.png"):
        picture(tmp_path / "pets" / name)
    records: list[dict[str, Any]] = [
        {"file_name": "a.jpg", "label": "real", "group": "g", "captions": ["a cat, black", "a tom"], "note": 1},
        {"file_name": "sub/b.png", "label": "fake", "group": "g", "generator": "sd", "caption": "a tom", "split": None},
        {"file_name": "gone.png", "label": "fake", "caption_index": 0},
    ]
    path = tmp_path / "pets" / f"metadata.{kind}"
    names = list({name: None for record in records for name in record})
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    elif kind == "parquet":
        pq.write_table(pa.table({name: [record.get(name) for record in records] for name in names}), path)
    else:
        path.write_text(
            "file_name,label,group,captions,note,generator,caption,split,caption_index\n"
            'a.jpg,real,g,"[""a cat, black"", ""a tom""]",1,,,,\n'
            "sub/b.png,fake,g,,,sd,a tom,,\n"
            "gone.png,fake,,,,,,,0\n"
        )
    dataset = imported(tmp_path / "pets", tmp_path)
    assert read_columns(dataset, "image_id", "cluster_id", "role", "generator", "caption_index", "status") == [
        ("a.jpg", "g", "parent", None, None, "ok"),
        ("sub/b.png", "g", "child", "sd", 1, "ok"),
        ("gone.png", "gone.png", "child", "unknown", 0, "missing"),
    ]
    assert rows(dataset)["a.jpg"]["path"] == str(tmp_path / "pets/a.jpg")
    assert dataset.captions["caption"].to_pylist() == ["a cat, black", "a tom"]


def test_a_list_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / f"pets/{split}/0.jpg")
        (tmp_path / f"pets/{split}/metadata.csv").write_text("file_name,label\n0.jpg,1\n")
    dataset = imported(tmp_path / "pets", tmp_path)
    assert read_columns(dataset, "image_id", "split") == [("test/0.jpg", "test"), ("train/0.jpg", "train")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1]}, "saved has no column of images; it has label$"),
        (
            {**IMAGES, "kind": [0, 1]},
            r"saved has no column role or label; rename .* to `role` \(parent or child\); it has image, kind$",
        ),
        ({**IMAGES, "label": [0, 2]}, "saved, row 1: label is 2, not one of parent, real, 0, child, fake, 1"),
        ({**IMAGES, "label": [0, None]}, "row 1: label is None, not one of"),
        ({**IMAGES, "label": [[0], [1]]}, r"row 0: label is \[0\], not one of"),
        ({**IMAGES, "role": ["parent", "x" * 99]}, "row 1: role is 'x{56}.{3}, not one of"),
        ({**IMAGES, "label": [0, 1], "split": ["train", "dove"]}, "row 1: split is 'dove', not one of train"),
        ({**IMAGES, "label": [0, 1], "captions": ["a", "b"]}, "row 0: captions are 'a', not a list of texts"),
        ({**IMAGES, "label": [0, 1], "captions": [[1], [2]]}, r"row 0: captions are \[1\], not a list of texts"),
        ({**IMAGES, "label": [0, 1], "caption_index": [0, -1]}, "row 1: caption_index is -1, not a number from 0"),
        ({**IMAGES, "label": [0, 1], "group": [["a"], ["b"]]}, r"row 0: group is \['a'\], not a text"),
        ({**IMAGES, "label": [0, 1], "image_id": ["a", "a"]}, "two images are called a"),
        (
            {**IMAGES, "label": [0, 1], "captions": [["a", "b"], ["c", "d"]], "caption_index": [0, 2]},
            "saved: image 1 has caption_index 2, but cluster 1 has 2 captions",
        ),
    ],
)
def test_wrong_values_say_where(columns: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    save(tmp_path / "saved", columns)
    with pytest.raises(DatasetError, match=message):
        imported(tmp_path / "saved", tmp_path)
    assert not (tmp_path / "out/images.parquet").exists()


def test_an_unlabelled_class_says_where(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {**IMAGES, "label": [0, -1]}, label=["real", "fake"])
    with pytest.raises(DatasetError, match="row 1: label is None"):
        imported(folder, tmp_path)


def test_of_several_columns_of_images_one_is_named(tmp_path: Path) -> None:
    table = pa.table({"left": pa.array([cell(0)], FILE), "right": pa.array([cell(1)], FILE), "label": [0]})
    (tmp_path / "two").mkdir()
    pq.write_table(table, tmp_path / "two/all.parquet")
    message = "two has several columns of images; rename the one to read to `image`; it has left, right"
    with pytest.raises(DatasetError, match=message):
        imported(tmp_path / "two", tmp_path)
    pq.write_table(table.rename_columns(["left", "image", "label"]), tmp_path / "two/all.parquet")
    dataset = imported(tmp_path / "two", tmp_path)
    assert (tmp_path / "out" / dataset.column("path")[0]).read_bytes() == encoded(1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"is not a Hugging Face dataset: it has no state\.json or dataset_dict\.json"),
        ({"state.json": "{"}, r"state\.json cannot be read: Expecting property name"),
        ({"state.json": "[]"}, r"state\.json is not a JSON object"),
        ({"state.json": "{}"}, r"state\.json has no list of data files"),
        ({"state.json": '{"_data_files": [1]}'}, r"state\.json has no list of data files"),
        ({"state.json": '{"_data_files": [{"filename": "../gone.arrow"}]}'}, r"in/gone\.arrow cannot be read: No such"),
        ({"state.json": '{"_data_files": [{"filename": "a"}]}', "a": ""}, "in/a cannot be read: "),
        ({"state.json": '{"_data_files": [{"filename": "a"}]}', "a": "nonsense, and more"}, "in/a cannot be read: "),
        ({"dataset_dict.json": "{}"}, r"dataset_dict\.json has no list of splits"),
        ({"dataset_dict.json": '{"splits": ["train"]}'}, r"train/state\.json cannot be read: No such file"),
        ({"train-00000-of-00001.parquet": "PAR1"}, r"train-00000-of-00001\.parquet cannot be read: "),
        ({"metadata.csv": "name,label\na,0\n"}, r"metadata\.csv has no column file_name"),
        ({"metadata.csv": ""}, r"metadata\.csv has no column file_name"),
        ({"metadata.csv": "file_name,label\n"}, "no images to import"),
        (
            {"metadata.csv": "file_name,label\na.jpg,0\n,1\n"},
            r"metadata\.csv, line 3: file_name is empty",
        ),
        ({"metadata.csv": "file_name,label\na.jpg\n"}, r"metadata\.csv, line 2: label is None, not one of"),
        ({"metadata.csv": "file_name,label\na.jpg,cat\n"}, r"metadata\.csv, line 2: label is 'cat', not one of"),
        ({"metadata.csv": "file_name,label\n" + "x" * 200_000}, r"metadata\.csv cannot be read: field larger"),
        ({"metadata.jsonl": '{"file_name": "a.jpg", "label": 0}\n{'}, r"metadata\.jsonl cannot be read: Expecting"),
        ({"metadata.jsonl": "[1]"}, r"metadata\.jsonl cannot be read: line 1 is not an object"),
        ({"metadata.jsonl": "[" * 100_000}, r"metadata\.jsonl cannot be read: "),
        (
            {"metadata.jsonl": '{"file_name": 7, "label": 0}'},
            r"metadata\.jsonl, line 1: file_name is empty or not",
        ),
        ({"metadata.jsonl": r'{"file_name": "\ud800", "label": 0}'}, "the name is not UTF-8"),
        ({"metadata.parquet": "nonsense"}, r"metadata\.parquet cannot be read: "),
        (
            {f"{split}/metadata.csv": "file_name,label\na.jpg,0\n" for split in ("train", "unlabelled")},
            r"unlabelled/metadata\.csv: the split unlabelled is not one of train, test, val, .*; rename it, or add",
        ),
    ],
)
def test_broken_folders_say_what(files: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        imported(tmp_path / "in", tmp_path)


def test_what_is_no_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone: no such folder; download a dataset of the Hub first"):
        imported(tmp_path / "gone", tmp_path)
    (tmp_path / "train.parquet").touch()
    with pytest.raises(DatasetError, match=r"train\.parquet is a file; pass its folder"):
        imported(tmp_path / "train.parquet", tmp_path)


def test_truncated_and_altered_arrow_files_say_so(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(number) for number in range(8)], "label": [0, 1] * 4})
    path = folder / "data-00000-of-00002.arrow"
    complete = path.read_bytes()
    draw = np.random.default_rng(0)
    messages: list[str] = []
    for attempt in range(120):
        data = bytearray(complete[: len(complete) * (attempt % 40) // 40] if attempt < 40 else complete)
        if attempt >= 40:
            data[draw.integers(len(data))] = draw.integers(256)
        path.write_bytes(data)
        try:
            list(read_huggingface(folder, tmp_path / "out"))
        except DatasetError as error:
            messages.append(str(error))
    assert len(messages) > 40
    assert not any("\n" in message for message in messages)


def test_images_inside_tables_are_written_and_not_read_again(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", {"image": [cell(0), {"bytes": b"", "path": "x.png"}], "label": [0, 1]})
    with FileOpens(tmp_path / "out/images") as opens:
        dataset = HuggingFaceImporter(folder).import_to(tmp_path / "out")
    assert opens.counts == {}
    assert read_columns(dataset, "sha256", "status") == [
        (hashlib.sha256(encoded(0)).hexdigest(), "ok"),
        (None, "empty"),
    ]
