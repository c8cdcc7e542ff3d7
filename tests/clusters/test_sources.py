"""Datasets from folders, CSV lists and COCO caption files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from changeling.clusters.manifest import Dataset
from changeling.clusters.sources import from_coco, from_csv, from_folder, import_dataset
from changeling.errors import DatasetError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 30)).save(path)
    return path


def listing(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(dataset: Dataset) -> dict[str, dict[str, object]]:
    return {row["image_id"]: row for row in dataset.images.to_pylist()}


def test_a_folder_of_real_and_fake(tmp_path: Path) -> None:
    for name in ("real/a.jpg", "real/deep/b.PNG", "fake/c.webp", "fake/sdxl/d.png"):
        picture(tmp_path / "pets" / name)
    (tmp_path / "pets/real/notes.txt").write_text("not an image")
    (tmp_path / "pets/fake/empty.jpg").touch()
    got = rows(import_dataset(from_folder(tmp_path / "pets"), tmp_path / "out"))
    assert list(got) == ["real/a.jpg", "real/deep/b.PNG", "fake/c.webp", "fake/empty.jpg", "fake/sdxl/d.png"]
    assert [row["role"] for row in got.values()] == ["parent", "parent", "child", "child", "child"]
    assert [row["generator"] for row in got.values()] == [None, None, "unknown", "unknown", "sdxl"]
    assert (got["fake/empty.jpg"]["status"], got["fake/empty.jpg"]["error"]) == ("empty", "the file has no bytes")
    assert (got["real/a.jpg"]["width"], got["real/a.jpg"]["height"], got["real/a.jpg"]["format"]) == (8, 6, "JPEG")
    assert {row["source"] for row in got.values()} == {"pets"}


def test_a_csv_list_with_groups_captions_and_splits(tmp_path: Path) -> None:
    for name in ("images/x/p.jpg", "images/x/c.jpg", "images/y/q.jpg"):
        picture(tmp_path / name)
    path = listing(
        tmp_path / "list.csv",
        "file,role,generator,group,captions,split,note",
        'images/x/p.jpg,parent,,g1,"[""a cat"", ""a tabby""]",test,',
        'images/x/c.jpg,child,sd-1.4,g1,"[""a cat""]",test,"with, a comma"',
        "images/y/q.jpg,parent,,,,,",
    )
    dataset = import_dataset(from_csv(path), tmp_path / "out")
    got = rows(dataset)
    assert [row["cluster_id"] for row in got.values()] == ["g1", "g1", "images/y/q.jpg"]
    assert [row["source"] for row in got.values()] == ["x", "x", "y"]
    assert (got["images/x/c.jpg"]["generator"], got["images/x/c.jpg"]["caption_index"]) == ("sd-1.4", 0)
    assert [row["split"] for row in got.values()][:2] == ["test", "test"]
    assert dataset.captions["caption"].to_pylist() == ["a cat", "a tabby"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,role", "a,parent"], "no column file"),
        (["file,role", "a.jpg,real"], "2: role is 'real', not parent or child"),
        (["file,role,split", "a.jpg,parent,dev"], "2: split is 'dev', not one of train, val, test"),
        (["file,role,captions", "a.jpg,parent,[1]"], "2: captions are not a JSON list of strings"),
        (["file,role,captions", "a.jpg,parent,a cat"], "2: captions are not a JSON list of strings"),
        (["file,role", "a.jpg,parent", "a.jpg,parent"], "two images are called a.jpg"),
        (["file,role"], "no images to import"),
    ],
)
def test_a_wrong_csv_says_where(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        import_dataset(from_csv(listing(tmp_path / "list.csv", *lines)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_a_row(tmp_path: Path) -> None:
    path = listing(tmp_path / "list.csv", "file,role", "gone.jpg,parent")
    (row,) = rows(import_dataset(from_csv(path), tmp_path / "out")).values()
    assert (row["status"], row["error"]) == ("missing", "no such file")


def coco(path: Path, captions: dict[int, list[str]]) -> Path:
    notes = [{"image_id": number, "caption": text} for number, texts in captions.items() for text in texts]
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in captions]
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    return path


def test_coco_keeps_the_first_five_captions_and_knows_files_by_their_number(tmp_path: Path) -> None:
    annotations = coco(tmp_path / "captions.json", {139: [f" caption\n{i} " for i in range(7)], 285: ["one"], 9: []})
    for name in ("COCO_val2014_000000000139.jpg", "sub/000000000285.jpg", "000000000999.jpg", "logo.png"):
        picture(tmp_path / "images" / name)
    dataset = import_dataset(from_coco(annotations, tmp_path / "images"), tmp_path / "out")
    assert dataset.column("image_id").tolist() == ["139", "285"]
    assert set(dataset.column("role")) == {"parent"}
    captions = [(row["cluster_id"], row["caption"]) for row in dataset.captions.to_pylist()]
    assert captions == [*(("coco_139", f"caption {i}") for i in range(5)), ("coco_285", "one")]


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": []}'])
def test_a_file_that_is_not_coco_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(DatasetError, match="is not a COCO caption file"):
        list(from_coco(tmp_path / "captions.json", tmp_path))


def test_coco_without_its_photographs_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none of the 1 images"):
        list(from_coco(coco(tmp_path / "captions.json", {1: ["a"]}), tmp_path))


def test_a_dataset_is_not_overwritten(tmp_path: Path) -> None:
    picture(tmp_path / "in/real/a.jpg")
    import_dataset(from_folder(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(DatasetError, match="is a dataset already"):
        import_dataset(from_folder(tmp_path / "in"), tmp_path / "out")


def test_an_empty_folder_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images below real/ or fake/"):
        list(from_folder(tmp_path))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the photographs that development uses")
def test_real_coco_photographs(tmp_path: Path) -> None:
    images = SHARED / "images" / "coco_mini"
    dataset = import_dataset(from_coco(SHARED / "captions_val2017.json", images), tmp_path / "out")
    assert len(dataset) == 159
    assert set(dataset.column("status")) == {"ok"}
    assert dataset.captions.num_rows == 5 * 159
