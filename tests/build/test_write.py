"""The rows and files that a build writes, unreadable parents, and a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from changeling.build.children import draw_and_write_parts
from changeling.build.job import Build
from changeling.build.parents import child_seed
from changeling.build.parts import PARENTS, BuildPartFormat
from changeling.build.runner import run_build
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from changeling.generators.base import Generator
from changeling.images.decode import read_file
from changeling.images.encode import read_encoding
from changeling.parts import unique_folder_name
from tests import helpers
from tests.build.builds import (
    CAPTIONS,
    COUNTS,
    GENERATORS,
    PART_SIZE,
    SPLITS,
    make_build,
)


def test_the_file_of_a_parent_is_read_once_for_each_part(
    build: Build, parents: Dataset, loaded: dict[str, Generator]
) -> None:
    with helpers.FileOpens(parents.path.parent / "photographs") as opens:
        for name in ("sd", "sd: rebuilt"):
            draw_and_write_parts(build, name, loaded[name], [0])
    assert opens.counts == {"0.jpg": 2, "1.jpg": 2, "2.png": 1, "3.webp": 1}  # sd: two parents; rebuilt: four


def test_rows_describe_every_parent_and_child(finished: Path, parents: Dataset) -> None:
    dataset = Dataset(finished)
    rows = dataset.images.to_pylist()
    assert [row["role"] for row in rows] == ["parent"] * 7 + ["child"] * 49
    assert [row["generator"] or PARENTS for row in rows] == [name for name, n in COUNTS.items() for _ in range(n)]
    assert dataset.captions.to_pylist() == parents.captions.to_pylist()
    for row in rows:
        assert row["split"] == SPLITS[int(row["cluster_id"][1:]) % 3]
        assert row["source"] == "camera"
        if row["status"] != "ok":
            continue
        data = (finished / row["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        with Image.open(finished / row["path"]) as image:
            assert (image.size, image.format) == ((row["width"], row["height"]), row["format"])
    for number, row in enumerate(row for row in rows if row["generator"] == "sd"):
        cluster, index = f"c{number // CAPTIONS}", number % CAPTIONS
        assert (row["cluster_id"], row["caption_index"]) == (cluster, index)
        assert row["seed"] == child_seed(0, cluster, index, "sd")
        assert row["status"] == "ok"
        assert (row["width"], row["height"]) == (64, 64)
    assert [row["image_id"] for row in rows[:7]] == list(parents.column("image_id"))
    for parent, reconstruction in zip(rows[:7], rows[-7:], strict=True):
        changed = {"image_id": f"sd: rebuilt/{parent['image_id']}", "role": "child", "generator": "sd: rebuilt"}
        changed |= {name: reconstruction[name] for name in ("path", "sha256", "seed")}
        assert reconstruction == parent | changed | {"caption_index": None}
        assert reconstruction["sha256"] != parent["sha256"]


def test_children_have_the_encoding_of_their_parents(finished: Path, parents: Dataset) -> None:
    dataset = Dataset(finished)
    paths = dict(zip(parents.column("cluster_id"), parents.column("path"), strict=True))
    with_file = [row for row in dataset.images.to_pylist() if row["status"] == "ok"]
    for row in with_file:
        parent = read_file(parents.resolve_path(paths[row["cluster_id"]]))
        assert read_encoding(read_file(finished / row["path"])) == read_encoding(parent)
    assert {row["format"] for row in with_file if row["role"] == "child"} == {"JPEG", "PNG", "WEBP"}


def test_flagged_children_are_redrawn_or_have_a_row_without_a_file(finished: Path) -> None:
    rows = [row for row in Dataset(finished).images.to_pylist() if row["generator"] == "picky"]
    first_seeds = [child_seed(0, row["cluster_id"], row["caption_index"], "picky") for row in rows]
    attempts = [row["seed"] - first if row["seed"] else None for row, first in zip(rows, first_seeds, strict=True)]
    assert {0, 1} <= set(attempts) <= {0, 1, None}  # about 67, 22 and 11 in a hundred
    for row, attempt in zip(rows, attempts, strict=True):
        if attempt is None:
            assert (row["status"], row["error"]) == ("flagged", "the safety checker flagged it 2 times")
            assert (row["path"], row["sha256"], row["width"]) == ("", None, None)


def test_generators_json_holds_the_records(finished: Path, loaded: dict[str, Generator]) -> None:
    records = json.loads((finished / "generators.json").read_text())
    of_build = {"seed": 0, "saved": {"encoding": "matched", "size": None}}
    assert records == {name: generator.record | of_build for name, generator in loaded.items()}


def test_there_are_no_files_except_those_of_rows_parts_and_tables(finished: Path, expected: dict[str, bytes]) -> None:
    paths = {path for path in Dataset(finished).column("path") if path}
    assert {name for name in expected if name.startswith("images/")} == paths
    tables = {name for name in expected if not name.startswith(("images/", "build/"))}
    assert tables == {"images.parquet", "captions.parquet", "generators.json"}
    numbers = {name: range(-(-count // PART_SIZE)) for name, count in COUNTS.items()}
    parts = [f"build/{unique_folder_name(name)}/part-0000{n}.parquet" for name in COUNTS for n in numbers[name]]
    records = [f"build/{unique_folder_name(name)}/generator.json" for name in GENERATORS]
    assert {name for name in expected if name.startswith("build/")} == {*parts, *records, "build/index.html"}


def test_the_header_of_a_part_has_batch_device_and_hash(finished: Path, loaded: dict[str, Generator]) -> None:
    header = BuildPartFormat().read_header(finished / "build" / "sd" / "part-00000.parquet")
    assert (header.batch, header.device) == (1, loaded["sd"].device)
    hashes = {BuildPartFormat().read_header(path).made_of for path in (finished / "build").rglob("part-*")}
    assert len(hashes) == 2 + 6 + 6 + 2


@pytest.mark.usefixtures("cached")
def test_parents_that_changed_since_their_import_become_rows_with_an_error(
    parents: Dataset, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(parents.path.parent, tmp_path / "all")
    rows = [
        ImageRow(**row | {"path": str(tmp_path / "all" / "photographs" / Path(row["path"]).name)})
        for row in parents.images.to_pylist()
    ]
    captions = [CaptionRow(**row) for row in parents.captions.to_pylist()]
    moved = write_dataset(tmp_path / "all" / "coco", rows, captions)
    (tmp_path / "all" / "photographs" / "1.jpg").write_bytes(b"another file")
    (tmp_path / "all" / "photographs" / "5.jpg").unlink()
    dataset = run_build(make_build(moved, tmp_path / "fakes", models, {"sd": GENERATORS["sd"]}))
    assert dataset is not None
    failed = [row for row in dataset.images.to_pylist() if row["status"] != "ok"]
    assert [row["image_id"] for row in failed] == [
        *("1.jpg", "5.jpg"),
        *(f"sd/{number}.jpg/{index}" for number in (1, 5) for index in range(CAPTIONS)),
    ]
    assert {(row["status"], row["role"]) for row in failed} == {
        *(("corrupt", "parent"), ("missing", "parent")),
        *(("corrupt", "child"), ("missing", "child")),
    }
    assert all((row["path"], row["sha256"], row["seed"]) == ("", None, None) for row in failed)
    assert all(
        "is another file than when it was imported" in row["error"] for row in failed if row["status"] == "corrupt"
    )


@pytest.mark.parametrize("after", [0, 3, 5, 9, 10, 30])
@pytest.mark.usefixtures("cached")
def test_after_a_full_disk_a_build_resumes_to_the_same_bytes(
    after: int, build: Build, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes_left = Path.write_bytes, iter(range(after))

    def fill_disk(path: Path, data: bytes) -> int:
        if next(writes_left, None) is None:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_disk)
        with pytest.raises(
            BuildError, match=r"fakes: the disk is full; finished parts are kept: make room and start again"
        ):
            run_build(build)
    assert not (build.output / "images.parquet").exists()
    assert not list(build.output.rglob("*.tmp"))
    parts = {name: data for name, data in helpers.contents(build.output).items() if "/part-" in name}
    assert parts.items() <= expected.items()
    run_build(build)
    assert helpers.contents(build.output) == expected


@pytest.mark.usefixtures("cached")
def test_a_disk_that_is_full_at_the_last_table_leaves_no_dataset(
    build: Build, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pq.ParquetWriter.write_table

    def fill_disk(writer: pq.ParquetWriter, table: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fill_disk)
        patch.setattr(pq, "write_table", lambda table, where: _write_table(write, table, where))
        with pytest.raises(BuildError, match=r"the disk is full"):
            run_build(build)
    assert not (build.output / "images.parquet").exists()
    assert not list(build.output.rglob("*.tmp"))
    run_build(build)
    assert helpers.contents(build.output) == expected


def _write_table(write: Callable[..., None], table: Any, where: Path) -> None:
    with pq.ParquetWriter(where, table.schema) as writer:
        write(writer, table)
