from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest

from changeling.detect.inputs import find_images
from changeling.errors import ChangelingError, ImageError
from changeling.images.decode import read_image
from tests.helpers import run_unprivileged

FILES = [
    "b.png",
    "a.JPG",
    "notes.txt",
    "sub/c.webp",
    "sub/deep/d.tiff",
    "sub/noext",
    "z[1].gif",
    ".hidden.png",
    "line\nbreak.png",
]


SUB = ["sub/c.webp", "sub/deep/d.tiff"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of empty files, which is the working directory."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["b.png"], ["b.png"]),
        (["notes.txt", "sub/noext"], ["notes.txt", "sub/noext"]),  # a named file is returned whatever its suffix
        (["nowhere.png"], ["nowhere.png"]),  # even if it does not exist
        (["sub"], SUB),
        (["sub/"], SUB),
        (["."], [f"./{name}" for name in (".hidden.png", "a.JPG", "b.png", "line\nbreak.png", "z[1].gif", *SUB)]),
        (["*.png"], ["b.png", "line\nbreak.png"]),
        (["*.png", "b.png"], ["b.png", "line\nbreak.png", "b.png"]),
        (["**/*.tiff"], ["sub/deep/d.tiff"]),
        (["[ab].*"], ["a.JPG", "b.png"]),
        (["su*"], SUB),
        (["z[1].gif"], ["z[1].gif"]),  # a file has this very name
        (["b.png", "a.JPG"], ["b.png", "a.JPG"]),
    ],
)  # fmt: skip
def test_files_folders_and_globs_are_expanded(folder: Path, arguments: list[str], expected: list[str]) -> None:
    assert find_images(arguments, BytesIO()) == expected
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (b"b.png\nx y.jpg\n", ["b.png", "x y.jpg"]),
        (b"b.png\r\nc.png", ["b.png", "c.png"]),
        (b"\n\nb.png\n\n", ["b.png"]),
        (b"line\nbreak.png\0b.png\0", ["line\nbreak.png", "b.png"]),
        (b"one\0", ["one"]),
        (b"\xff\xfe.png\n", [os.fsdecode(b"\xff\xfe.png")]),
        (b"*.png\n-\n", ["*.png", "-"]),  # names, not patterns
        ("übung.png\n".encode(), ["übung.png"]),
    ],
)
def test_a_list_is_read_from_standard_input(folder: Path, listed: bytes, expected: list[str]) -> None:
    assert find_images(["-"], BytesIO(listed)) == expected
    assert find_images(["a.JPG", "-", "sub"], BytesIO(listed)) == ["a.JPG", *expected, "sub/c.webp", "sub/deep/d.tiff"]
    assert [os.fsencode(path) for path in expected] == [
        os.fsencode(path) for path in find_images(["-"], BytesIO(listed))
    ]
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("argument", "message"),
    [("*.bmp", r"no images: \*.bmp"), ("empty", "no images: empty"), ("-", "no images: standard input is empty")],
)
def test_arguments_without_images_are_errors(folder: Path, argument: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ChangelingError, match=message):
        find_images(["b.png", argument], BytesIO())


def test_other_files_in_folders_are_returned_but_hidden_ones(folder: Path) -> None:
    (folder / "sub" / "release.pdf").touch()
    (folder / "sub" / ".DS_Store").touch()
    other_files: list[str] = []
    assert find_images(["sub", "b.png"], other_files=other_files) == [*SUB, "b.png"]
    assert "sub/release.pdf" in other_files
    assert not [path for path in other_files if ".DS_Store" in path or path in (*SUB, "b.png")]


def test_links_to_files_are_followed_and_loops_are_not(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "link.png").symlink_to("c.webp")
    (folder / "alias").symlink_to("sub")
    assert find_images(["alias"], BytesIO()) == ["alias/c.webp", "alias/link.png", "alias/deep/d.tiff"]


def test_names_that_are_not_utf8_are_found(folder: Path) -> None:
    (folder / "odd").mkdir()
    Path(os.fsdecode(os.fsencode(folder / "odd") + b"/\xff.png")).touch()
    (path,) = find_images([str(folder / "odd")], BytesIO())
    assert os.fsencode(path).endswith(b"/\xff.png")


PRINT_STATUSES = """
import io, sys
from changeling.detect.inputs import find_images
from changeling.errors import ImageError
from changeling.images.decode import read_image
for path in find_images(sys.argv[1:], io.BytesIO()):
    try:
        read_image(path)
    except ImageError as error:
        print(path.rpartition("/")[2], error.status)
"""


def test_a_folder_that_cannot_be_listed_is_returned(folder: Path) -> None:
    (folder / "sub" / "closed").mkdir(mode=0)
    printed = run_unprivileged(PRINT_STATUSES, str(folder / "sub"))
    assert printed.splitlines() == ["c.webp empty", "d.tiff empty", "closed denied"]


def test_invalid_paths_are_returned_as_they_are(folder: Path) -> None:
    found = find_images(["a\0b", "x" * 9999], BytesIO())
    assert found == ["a\0b", "x" * 9999]
    for path in found:
        with pytest.raises(ImageError):
            read_image(path)
    assert folder.is_dir()
