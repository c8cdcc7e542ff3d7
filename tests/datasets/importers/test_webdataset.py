"""Tar files of samples: ours as `webdataset` reads them, and others' as they are imported."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from changeling.datasets.dataset import Dataset
from changeling.datasets.exporters.webdataset import WebDatasetExporter
from changeling.datasets.importers.webdataset import WebDatasetImporter
from changeling.datasets.schema import ImageRow
from changeling.errors import DatasetError
from tests.datasets.importers.test_huggingface import read_columns
from tests.datasets.odd import Odd, encoded

LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # by `webdataset`


def packed(path: Path, files: Mapping[str, bytes | dict[str, Any] | str]) -> Path:
    """Write a tar file as others do, with names of any length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1234.5
            archive.addfile(member, io.BytesIO(data))
    return path.parent


@LEFT_OPEN
def test_webdataset_reads_every_sample(tiny_dataset: Dataset, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    WebDatasetExporter().export(tiny_dataset, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.tar")} == {
        "train-000000.tar",
        "val-000000.tar",
        "test-000000.tar",
    }
    rows = tiny_dataset.images.to_pylist()
    seen = set()
    for split in ("train", "val", "test"):
        loader = webdataset.WebDataset(str(tmp_path / f"out/{split}-000000.tar"), shardshuffle=False).decode("rgb8")
        for key, pixels, row in loader.to_tuple("__key__", "png", "json"):
            wanted = rows[int(key)]
            assert pixels.shape == (32, 32, 3)
            assert {name: row[name] for name in wanted if name != "path"} == {
                name: value for name, value in wanted.items() if name != "path"
            }
            assert row["split"] == split
            assert len(row["captions"]) == 3
            own = row["captions"][row["caption_index"]] if row["role"] == "child" else None
            assert row["caption"] == own
            seen.add(int(key))
    assert seen == set(range(len(rows)))


@LEFT_OPEN
def test_rows_without_an_image_are_in_a_tar_file_of_their_own(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    good = ImageRow("a/../b.c", "a", "parent", "images/a", "test")
    bad = replace(good, image_id="b", path="", status="flagged", error="the checker said no")
    odd = Odd([bad, good], [], {"images/a": encoded("AVIF")})
    WebDatasetExporter().export(odd.write(tmp_path / "in"), tmp_path / "out")
    (image,) = webdataset.WebDataset(str(tmp_path / "out/test-000000.tar"), shardshuffle=False)
    assert (image["__key__"], image["avif"]) == ("000000001", encoded("AVIF"))
    (row,) = webdataset.WebDataset(str(tmp_path / "out/no-image-000000.tar"), shardshuffle=False).decode()
    assert (row["json"]["image_id"], row["json"]["status"]) == ("b", "flagged")


def test_what_img2dataset_wrote_is_read_where_it_has_roles(tmp_path: Path) -> None:
    common = {"url": "https://example.org/x.jpg", "status": "success", "error_message": None, "width": 9}
    real = common | {"key": "000000000", "caption": "a cat", "role": "parent", "cluster_id": "x", "sha256": "other"}
    fake = common | {"key": "000000001", "caption": None, "label": 1, "cluster_id": "x", "generator": "sd", "seed": 5}
    folder = packed(
        tmp_path / "laion/00000.tar",
        {
            "000000000.jpg": encoded("JPEG"),
            "000000000.json": real,
            "000000000.txt": "a cat",
            "000000001.webp": encoded("WEBP"),
            "000000001.txt": "a cat\n",
            "000000001.json": fake,
        },
    )
    (folder / "00000_stats.json").write_text("{}")
    packed(folder / "00001.tar", {"000010000.jpg": encoded("JPEG", 1), "000010000.json": real | {"cluster_id": "y"}})
    dataset = WebDatasetImporter(folder).import_to(tmp_path / "out")
    assert read_columns(dataset, "image_id", "cluster_id", "role", "generator", "seed", "caption_index", "status") == [
        ("00000/000000000", "x", "parent", None, None, None, "ok"),
        ("00000/000000001", "x", "child", "sd", 5, 0, "ok"),
        ("00001/000010000", "y", "parent", None, None, None, "ok"),
    ]
    assert read_columns(dataset, "width", "height", "source") == [(8, 6, "laion")] * 3
    assert dataset.captions["caption"].to_pylist() == ["a cat", "a cat"]
    stored = [dataset.resolve_path(path) for path in dataset.column("path")]
    assert [path.suffix for path in stored] == [".jpg", ".webp", ".jpg"]
    assert [path.read_bytes() for path in stored] == [encoded("JPEG"), encoded("WEBP"), encoded("JPEG", 1)]


def test_classes_folders_and_splits_of_others(tmp_path: Path) -> None:
    for split in ("train", "val"):
        long = f"{split}/{'deep/' * 40}a"
        files: dict[str, Any] = {f"{long}.PNG": encoded("PNG"), f"{long}.cls": "0\n", f"{long}.mask.png": b"no image"}
        files |= {f"{split}/b.cls": b"1", f"{split}/c.jpg": b"", f"{split}/c.cls": "1"}
        packed(tmp_path / f"in/{split}-0001.tar", files)
    dataset = WebDatasetImporter(tmp_path / "in").import_to(tmp_path / "out")
    assert read_columns(dataset, "image_id", "role", "split", "status") == [
        (f"{split}-0001/{split}/{name}", role, split, status)
        for split in ("train", "val")
        for name, role, status in (
            ("deep/" * 40 + "a", "parent", "ok"),
            ("b", "child", "empty"),
            ("c", "child", "empty"),
        )
    ]


def test_names_are_no_paths(tmp_path: Path) -> None:
    escaping = {f"{name}.jpg": encoded("JPEG") for name in ("../../evil", "/tmp/evil", "C:\\evil", "a\nb")}
    files = {
        key: value
        for name, data in escaping.items()
        for key, value in ((name, data), (name.replace(".jpg", ".json"), {"role": "parent"}))
    }
    dataset = WebDatasetImporter(packed(tmp_path / "in/0.tar", files)).import_to(tmp_path / "out")
    assert len(dataset) == 4
    assert all(dataset.resolve_path(path).parent == tmp_path / "out/images/0000" for path in dataset.column("path"))
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} <= {"in", "out", "cache"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": b""}, r"0\.tar, sample 'a' has no role, label or \.cls; add `role` \(parent or child\) to its"),
        ({"a.jpg": b"", "a.json": {"role": "dove"}}, r"in, sample 0/a: role is 'dove', not one of parent, real"),
        ({"a.jpg": b"", "a.json": {"label": 2}}, r"in, sample 0/a: label is 2|in, sample 0/a: role is 2, not one of"),
        ({"a.jpg": b"", "a.cls": "seven"}, r"in, sample 0/a: role is 'seven', not one of"),
        ({"a.json": {"role": "child", "seed": -1}}, r"in, sample 0/a: seed is -1, not a number from 0"),
        ({"a.json": "[1]"}, r"0\.tar cannot be read: the \.json of sample 'a' is not an object"),
        ({"a.json": "{"}, r"0\.tar cannot be read: Expecting property name"),
        ({"a.json": "[" * 100_000}, r"0\.tar cannot be read: "),
        ({"notes": b"", "._a": b""}, "no images to import"),
    ],
)
def test_strange_samples_say_where(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        WebDatasetImporter(packed(tmp_path / "in/0.tar", files)).import_to(tmp_path / "out")
    assert not (tmp_path / "out/images.parquet").exists()


def test_what_holds_no_tar_files_says_so(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone: no such folder; pass the one that holds the \.tar files"):
        WebDatasetImporter(tmp_path / "gone").import_to(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"dataset has no \.tar files"):
        WebDatasetImporter(tiny_dataset.path).import_to(tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"zero.json": "{}"}, r"train-000000\.tar, sample 'zero' was changed after the export: invalid literal"),
        ({"000000000.json": "{}"}, r"train-000000\.tar, sample '000000000' was changed after the export: 'image_id'"),
    ],
)
def test_an_export_that_was_changed_says_where(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    odd = Odd([ImageRow("a", "a", "parent", "images/a", "train")], [], {"images/a": encoded("PNG")})
    WebDatasetExporter().export(odd.write(tmp_path / "in"), tmp_path / "out")
    packed(tmp_path / "out/train-000000.tar", files)
    with pytest.raises(DatasetError, match=message):
        WebDatasetImporter(tmp_path / "out").import_to(tmp_path / "back")


def test_cut_and_altered_tar_files_say_so(tiny_dataset: Dataset, tmp_path: Path) -> None:
    """Wherever a shard is cut it is an error; whatever else is changed is one, or changes nothing but spare bytes."""
    WebDatasetExporter().export(tiny_dataset, tmp_path / "out")
    path = tmp_path / "out/test-000000.tar"
    complete = path.read_bytes()
    draw = np.random.default_rng(0)
    for cut in {
        *range(0, len(complete), 2999),
        *range(0, len(complete) - 512, 5120),
        len(complete) - 1024,
        len(complete) - 513,
    }:
        path.write_bytes(complete[:cut])
        with pytest.raises(DatasetError, match=r"test-000000\.tar cannot be read: [^\n]+$"):
            WebDatasetImporter(tmp_path / "out").import_to(tmp_path / f"cut{cut}")
    messages: list[str] = []
    for attempt in range(150):
        data = bytearray(complete)
        data[draw.integers(len(data))] ^= int(draw.integers(1, 256))
        path.write_bytes(data)
        try:
            back = WebDatasetImporter(tmp_path / "out").import_to(tmp_path / f"altered{attempt}")
        except DatasetError as error:
            messages.append(str(error))
        else:
            assert len(back) == len(tiny_dataset)
            assert back.column("sha256").tolist() == tiny_dataset.column("sha256").tolist()
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
