"""COCO photographs: from caption files, and from Karpathy's file with its splits."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from changeling.datasets.importers import coco_annotations
from changeling.datasets.importers.coco import find_photographs, read_coco
from changeling.datasets.importers.coco_annotations import read_photographs
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.errors import DatasetError
from tests import helpers
from tests.datasets.files import IMAGES, entry, entry_text, picture, split_of, write_karpathy


def coco(path: Path, captions: dict[int, list[str]]) -> Path:
    notes = [{"image_id": number, "caption": text} for number, texts in captions.items() for text in texts]
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in captions]
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    return path


def test_coco_keeps_the_first_five_captions_and_knows_files_by_their_number(tmp_path: Path) -> None:
    annotations = coco(tmp_path / "captions.json", {139: [f" caption\n{i} " for i in range(7)], 285: ["one"], 9: []})
    for name in ("COCO_val2014_000000000139.jpg", "sub/val2017__000000000285.jpg", "000000000999.jpg", "logo.png"):
        picture(tmp_path / "images" / name)
    dataset = import_dataset(read_coco(annotations, tmp_path / "images"), tmp_path / "out")
    assert dataset.column("image_id").tolist() == ["139", "285"]
    assert set(dataset.column("role")) == {"parent"}
    captions = [(row["cluster_id"], row["caption"]) for row in dataset.captions.to_pylist()]
    assert captions == [*(("coco_139", f"caption {i}") for i in range(5)), ("coco_285", "one")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", ": it is not JSON, or is truncated"),
        ("[]", ""),
        ('{"images": []}', ""),
        ('{"images": [{}], "annotations": []}', ""),
        ('{"images": [], "annotations": []}', ""),
        ('{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": []}]}', ""),  # instances_val2017.json
    ],
)
def test_a_file_that_is_not_coco_says_what_to_pass(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(DatasetError, match=rf"is not a COCO caption file{why}; pass captions_\*\.json or Karpathy's"):
        list(read_coco(tmp_path / "captions.json", tmp_path))


def test_coco_without_its_photographs_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none of the 1 images"):
        list(read_coco(coco(tmp_path / "captions.json", {1: ["a"]}), tmp_path))


def test_an_image_that_is_there_twice_names_both_files(tmp_path: Path) -> None:
    for name in ("images/2014/COCO_val2014_000000000139.jpg", "images/2017/000000000139.jpg"):
        picture(tmp_path / name)
    said = r"2017/000000000139\.jpg and .*2014/COCO_val2014_000000000139\.jpg are both image 139; keep one of them"
    with pytest.raises(DatasetError, match=said):
        list(read_coco(coco(tmp_path / "captions.json", {139: ["a"]}), tmp_path / "images"))


def test_photographs_in_no_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone: the folder cannot be read: No such file"):
        list(read_coco(coco(tmp_path / "captions.json", {1: ["a"]}), tmp_path / "gone"))


def test_what_is_there_of_a_caption_file_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "images/000000000002.jpg")
    notes: list[str] = []
    list(read_coco(coco(tmp_path / "captions.json", {1: ["a"], 2: ["b"]}), tmp_path / "images", note=notes.append))
    assert notes == ["photographs: 1 of 2"]


def test_a_few_photographs_that_are_missing_are_named(tmp_path: Path) -> None:
    for number in (2, 3, 4):
        picture(tmp_path / f"images/{number:012d}.jpg")
    notes: list[str] = []
    annotations = coco(tmp_path / "captions.json", {number: ["a"] for number in range(1, 5)})
    list(read_coco(annotations, tmp_path / "images", note=notes.append))
    assert notes == ["photographs: 3 of 4; not found: 000000000001.jpg"]


def test_captions_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f"images/{number:012d}.jpg")
    annotations = coco(tmp_path / "captions.json", {1: ["", "a", " \n", None], 2: [""]})  # type: ignore[list-item]
    notes: list[str] = []
    images = list(read_coco(annotations, tmp_path / "images", note=notes.append))
    assert [image.captions for image in images] == [["a"], []]
    assert notes == [
        "4 captions without text left out, of images 1, 1, 1, ...",
        "photographs: 2 of 2; without a caption: 2",
    ]


def test_karpathys_file_brings_its_splits_and_first_five_captions(karpathy: Path, tmp_path: Path) -> None:
    numbers = (7, 82_783, 82_784, 113_287, 113_288, 120_000)
    for number in numbers:
        part = "train2014" if number <= 82_783 else "val2014"
        picture(tmp_path / f"images/{part}/COCO_{part}_{number:012d}.jpg")
    notes: list[str] = []
    dataset = import_dataset(read_coco(karpathy, tmp_path / "images", note=notes.append), tmp_path / "out")
    assert dataset.column("cluster_id").tolist() == [f"coco_{number}" for number in numbers]
    assert dataset.column("split").tolist() == ["train", "train", "train", "train", "val", "test"]
    assert set(dataset.column("source")) == {"coco"}
    assert notes == ["photographs: train 4 of 113,287, val 1 of 5,000, test 1 of 5,000"]
    assert set(Counter(dataset.captions["cluster_id"].to_pylist()).values()) == {5}
    assert dataset.captions["caption"].to_pylist()[:5] == [f"caption {index} of 7" for index in range(5)]


def test_restval_forgotten_is_said_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(split_of(number) == "train" for number in range(1, IMAGES + 1)) == coco_annotations.TRAIN2014_COUNT
    monkeypatch.setattr(coco_annotations, "TRAIN2014_COUNT", 2)
    numbers = (1, 2, 113_288, 120_000)
    path = write_karpathy(tmp_path / "dataset_coco.json", [entry_text(number, split_of(number)) for number in numbers])
    said = (
        r"dataset_coco\.json has 2 / 1 / 1 images for train / val / test, but the Karpathy splits have "
        r"113,287 / 5,000 / 5,000; the images marked `restval`, which belong to train, are missing"
    )
    with pytest.raises(DatasetError, match=said):
        read_photographs(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(5)], r"has 1 / 0 / 0 images for train / val / test, but the Karpathy splits have 113,287"),
        ([entry(5), entry(6, captions=4)], "image 6 has 4 captions; each needs 5"),
        ([entry(5), entry(5)], "image 5 occurs twice"),
        ([entry(5), entry(6, "dev")], r"Karpathy's file of COCO: image 1 in it \(from 0\) has no valid cocoid, split"),
        ([{**entry(5), "cocoid": float("inf")}], "is not Karpathy's file of COCO: image 0 in it"),
        ([{**entry(5), "sentences": [{"raw": None}]}], "is not Karpathy's file of COCO: image 0 in it"),
        ([{k: v for k, v in entry(5).items() if k != "cocoid"}], r"image 0 in it .*; pass captions_"),  # of flickr8k
        ([entry(5), None], "image 1 in it"),
    ],
)
def test_a_wrong_karpathy_file_says_what(entries: list[dict[str, Any] | None], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        list(read_coco(write_karpathy(tmp_path / "dataset_coco.json", entries), tmp_path))


def test_photographs_are_read_with_five_captions_each(tmp_path: Path) -> None:
    annotations = coco(tmp_path / "captions.json", {number: ["a"] * 6 for number in range(20)})
    for number in range(20):
        helpers.natural(number).save(picture(tmp_path / f"images/{number:012d}.jpg"))
    dataset = import_dataset(read_coco(annotations, tmp_path / "images"), tmp_path / "out")
    assert set(dataset.column("status")) == {"ok"}
    assert len(set(dataset.column("sha256"))) == len(dataset) == 20
    assert dataset.captions.num_rows == 5 * 20


@pytest.mark.parametrize(
    "name",
    [
        "139.jpg",
        "robot-139.jpg",
        "000000000139.png",
        "fake_000000000139.jpg",
        "COCO_val2017_000000000139.jpg",
        "SD_COCO_val2014_000000000139.jpg",
        "0000000000139.jpg",
        "fake__000000000139.jpg",
    ],
)
def test_a_file_that_merely_ends_in_the_number_of_an_image_is_not_a_photograph(name: str, tmp_path: Path) -> None:
    annotations = coco(tmp_path / "captions.json", {139: ["a"], 285: ["b"]})
    for file in (name, "000000000285.jpg"):
        picture(tmp_path / "images" / file)
    assert [image.row.image_id for image in read_coco(annotations, tmp_path / "images")] == ["285"]


@pytest.mark.parametrize(
    ("file_name", "accepted"),
    [
        ("000000000139.jpg", ["000000000139.jpg", "COCO_train2014_000000000139.jpg", "COCO_val2014_000000000139.jpg"]),
        ("COCO_val2014_000000000139.jpg", ["000000000139.jpg", "COCO_val2014_000000000139.jpg"]),
        ("cat.jpg", ["cat.jpg"]),  # a caption file in COCO's format, of other images
        ("000000000140.jpg", ["000000000140.jpg"]),
    ],
)
def test_the_file_name_in_the_caption_file_decides(file_name: str, accepted: list[str], tmp_path: Path) -> None:
    content = {"images": [{"id": 139, "file_name": file_name}], "annotations": [{"image_id": 139, "caption": "a"}]}
    (tmp_path / "captions.json").write_text(json.dumps(content))
    names = ["000000000139.jpg", "COCO_train2014_000000000139.jpg", "COCO_val2014_000000000139.jpg", "cat.jpg"]
    found: list[str] = []
    for name in [*names, "000000000140.jpg"]:
        folder = tmp_path / name.removesuffix(".jpg")
        picture(folder / name)
        found += find_photographs(folder, read_photographs(tmp_path / "captions.json")).values()
    assert [Path(path).name for path in found] == accepted
