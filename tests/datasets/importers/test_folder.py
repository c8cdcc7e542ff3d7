"""Datasets from folders and CSV lists."""

from pathlib import Path

import pytest

from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.folder import FolderImporter, read_folder
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.errors import DatasetError
from tests.datasets.files import picture, rows
from tests.helpers import FileOpens, run_unprivileged


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_folder_of_real_and_fake(tmp_path: Path) -> None:
    for name in ("real/a.jpg", "real/deep/b.PNG", "fake/c.webp", "fake/sdxl/d.png"):
        picture(tmp_path / "pets" / name)
    (tmp_path / "pets/real/notes.txt").write_text("not an image")
    (tmp_path / "pets/fake/empty.jpg").touch()
    got = rows(import_dataset(read_folder(tmp_path / "pets"), tmp_path / "out"))
    assert list(got) == ["real/a.jpg", "real/deep/b.PNG", "fake/c.webp", "fake/empty.jpg", "fake/sdxl/d.png"]
    assert [row["role"] for row in got.values()] == ["parent", "parent", "child", "child", "child"]
    assert [row["generator"] for row in got.values()] == [None, None, "unknown", "unknown", "sdxl"]
    assert (got["fake/empty.jpg"]["status"], got["fake/empty.jpg"]["error"]) == ("empty", "the file has no bytes")
    assert (got["real/a.jpg"]["width"], got["real/a.jpg"]["height"], got["real/a.jpg"]["format"]) == (8, 6, "JPEG")
    assert {row["source"] for row in got.values()} == {"pets"}


def test_which_caption_a_child_is_from_is_what_its_row_says_or_the_only_one(tmp_path: Path) -> None:
    lines = ["file,role,group,captions,caption_index", 'p.jpg,parent,g,"[""a"", ""b"", ""c""]",']
    lines += ['0.jpg,child,g,"[""a"", ""b"", ""c""]",2', '1.jpg,child,g,"[""a"", ""b"", ""c""]",', "2.jpg,child,g,,1"]
    lines += ['q.jpg,parent,h,"[""d""]",', "3.jpg,child,h,,"]
    for name in ("p", "0", "1", "2", "q", "3"):
        picture(tmp_path / f"{name}.jpg")
    got = rows(import_dataset(read_csv(write_list(tmp_path / "list.csv", *lines)), tmp_path / "out"))
    assert [row["caption_index"] for row in got.values()] == [None, 2, None, 1, None, 0]


def test_the_captions_of_a_cluster_are_the_longest_list_of_its_images(tmp_path: Path) -> None:
    lines = ["file,role,group,captions", 'c.jpg,child,g,"[""b""]"', 'p.jpg,parent,g,"[""a"", ""b"", ""a""]"']
    for name in ("c", "p"):
        picture(tmp_path / f"{name}.jpg")
    dataset = import_dataset(read_csv(write_list(tmp_path / "list.csv", *lines)), tmp_path / "out")
    assert dataset.captions["caption"].to_pylist() == ["a", "b", "a"]
    assert [row["caption_index"] for row in rows(dataset).values()] == [1, None]


def test_a_csv_list_with_groups_captions_and_splits(tmp_path: Path) -> None:
    for name in ("images/x/p.jpg", "images/x/c.jpg", "images/y/q.jpg"):
        picture(tmp_path / name)
    path = write_list(
        tmp_path / "list.csv",
        "file,role,generator,group,captions,split,note",
        'images/x/p.jpg,parent,,g1,"[""a cat"", ""a tabby""]",test,',
        'images/x/c.jpg,child,sd-1.4,g1,"[""a cat""]",test,"with, a comma"',
        "images/y/q.jpg,parent,,,,,",
    )
    dataset = import_dataset(read_csv(path), tmp_path / "out")
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
        (["file,role,captions", "a.jpg,parent," + 9999 * "["], "2: captions are not a JSON list of strings"),
        (["file,role,caption_index", "a.jpg,child,-1"], "2: caption_index is '-1', not a number from 0"),
        (["file,role,caption_index", f"a.jpg,child,{10**30}"], "2: caption_index is '1000000000"),
        (
            ["file,role,group,captions", 'a.jpg,parent,g,"[""a"", ""b""]"', 'c.jpg,parent,g,"[""a"", ""d""]"'],
            "image c.jpg has the caption 'd', which the captions of another image of cluster g lack",
        ),
        (
            ["file,role,captions,caption_index", 'a.jpg,child,"[""a""]",1'],
            "image a.jpg has caption_index 1, but cluster a.jpg has 1 caption, counted from 0",
        ),
        (["file,role,captions", "a.jpg,parent,a cat"], "2: captions are not a JSON list of strings"),
        (["file,role", "a.jpg,parent", "a.jpg,parent"], "two images are called a.jpg"),
        (["file,role"], "no images to import"),
    ],
)
def test_a_wrong_csv_says_where(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        import_dataset(read_csv(write_list(tmp_path / "list.csv", *lines)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_a_row(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.csv", "file,role", "gone.jpg,parent")
    (row,) = rows(import_dataset(read_csv(path), tmp_path / "out")).values()
    assert (row["status"], row["error"]) == ("missing", "no such file")


def test_a_dataset_is_not_overwritten(tmp_path: Path) -> None:
    picture(tmp_path / "in/real/a.jpg")
    import_dataset(read_folder(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(DatasetError, match="is a dataset already"):
        import_dataset(read_folder(tmp_path / "in"), tmp_path / "out")


def test_an_empty_folder_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images below real/ or fake/"):
        list(read_folder(tmp_path))


def test_links_to_folders_are_followed_and_rings_of_them_end(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere/a.jpg")
    picture(tmp_path / "in/real/b.jpg")
    picture(tmp_path / "in/real/._b.jpg")  # what macOS leaves beside it
    (tmp_path / "in/fake").mkdir()
    (tmp_path / "in/fake/sd").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "in")
    found = [(row.image_id, row.generator) for row, _ in read_folder(tmp_path / "in")]
    assert found == [("real/b.jpg", None), ("fake/sd/a.jpg", "sd"), ("fake/sd/again/real/b.jpg", "sd")]


def test_a_folder_that_cannot_be_listed_says_so(tmp_path: Path) -> None:
    picture(tmp_path / "real/a.jpg")
    picture(tmp_path / "real/locked/b.jpg")
    (tmp_path / "real/locked").chmod(0)
    script = """if True:
        import pathlib, sys
        from changeling.datasets.importers.folder import read_folder
        from changeling.errors import DatasetError
        try:
            list(read_folder(pathlib.Path(sys.argv[1])))
        except DatasetError as error:
            print(error)
    """
    try:
        said = run_unprivileged(script, str(tmp_path))
    finally:
        (tmp_path / "real/locked").chmod(0o700)
    assert said == f"{tmp_path}/real/locked: the folder cannot be read: Permission denied\n"


def test_each_file_is_opened_once(tmp_path: Path) -> None:
    names = [f"{kind}/{number}.jpg" for kind in ("fake", "real") for number in range(3)]
    for name in names:
        picture(tmp_path / "in" / name)
    (tmp_path / "in/real/2.jpg").write_text("not an image")
    with FileOpens(tmp_path / "in") as opens:
        FolderImporter(tmp_path / "in").import_to(tmp_path / "out")
    assert opens.counts == dict.fromkeys(names, 1)
