"""A build from beginning to end, interrupted in every way: what is done is kept, and the bytes are the same."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from changeling.build import runner
from changeling.build.children import seed_of
from changeling.build.job import Build
from changeling.build.parts import PARENTS, BuildPartFormat
from changeling.build.record import agree
from changeling.build.runner import run
from changeling.build.write import build_children
from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import CaptionRow, ImageRow
from changeling.errors import BuildError
from changeling.generators.base import Child, Generator
from changeling.generators.families import load_generator
from changeling.images.decode import read_file
from changeling.images.encode import read_encoding
from changeling.parts import unique_folder_name
from tests import helpers
from tests.build.builds import CAPTIONS, PART_SIZE, SPLITS, drawing, make_build

pytestmark = pytest.mark.usefixtures("server")
KILLS = 20
GENERATORS = {
    "sd": drawing("sd"),
    "picky": drawing("picky", redraws=1),
    "sd: rebuilt": drawing("vae", kind="reconstruction"),
}
COUNTS = {PARENTS: 7, "sd": 7 * CAPTIONS, "picky": 7 * CAPTIONS, "sd: rebuilt": 7}


@pytest.fixture(scope="module")
def loaded(models: Path) -> dict[str, Generator]:
    """The generators, loaded once."""
    return {name: load_generator(settings, models) for name, settings in GENERATORS.items()}


class Remembering:
    """A generator that draws each child once, and gives the same picture when it is asked again."""

    def __init__(self, generator: Generator) -> None:
        self.record, self.device, self._generator = generator.record, generator.device, generator
        self._drawn: dict[tuple[str, int], list[Image.Image | None]] = {}

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        if len(children) > 1:
            return self._generator.draw(children, seeds)
        (key,) = ((child.prompt, seed) for child, seed in zip(children, seeds, strict=True))
        if key not in self._drawn:
            self._drawn[key] = self._generator.draw(children, seeds)
        return self._drawn[key]


@pytest.fixture(scope="module")
def remembering(loaded: dict[str, Generator]) -> dict[str, Remembering]:
    return {name: Remembering(generator) for name, generator in loaded.items()}


@pytest.fixture
def fast(remembering: dict[str, Remembering], monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds take the generators that are loaded, and what they have drawn already."""
    monkeypatch.setattr(runner, "load", lambda _, name: remembering[name])


@pytest.fixture(scope="module")
def finished(
    parents: Dataset,
    models: Path,
    remembering: dict[str, Remembering],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The dataset that a build makes which nothing disturbs."""
    output = tmp_path_factory.mktemp("finished") / "fakes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load", lambda _, name: remembering[name])
        assert run(make_build(parents, output, models, GENERATORS)) is not None
    return output


@pytest.fixture(scope="module")
def expected(finished: Path) -> dict[str, bytes]:
    return helpers.contents(finished)


@pytest.fixture
def build(parents: Dataset, models: Path, tmp_path: Path) -> Build:
    """The same build, not begun."""
    return make_build(parents, tmp_path / "fakes", models, GENERATORS)


# What is made


def test_the_dataset_is_complete_and_says_what_it_is(finished: Path, parents: Dataset) -> None:
    dataset = Dataset(finished)
    rows = dataset.images.to_pylist()
    assert [row["role"] for row in rows] == ["parent"] * 7 + ["child"] * 49
    assert [row["generator"] or PARENTS for row in rows] == [name for name, n in COUNTS.items() for _ in range(n)]
    assert dataset.captions.to_pylist() == parents.captions.to_pylist()
    for row in rows:
        number = int(row["cluster_id"][1:])
        assert row["split"] == SPLITS[number % 3]
        assert row["source"] == "camera"
        if row["status"] != "ok":
            continue
        data = (finished / row["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        with Image.open(finished / row["path"]) as image:
            assert (image.size, image.format) == ((row["width"], row["height"]), row["format"])
    for place, row in enumerate(row for row in rows if row["generator"] == "sd"):
        cluster, index = f"c{place // CAPTIONS}", place % CAPTIONS
        assert (row["cluster_id"], row["caption_index"]) == (cluster, index)
        assert row["seed"] == seed_of(0, cluster, index, "sd")
        assert row["status"] == "ok"
        assert (row["width"], row["height"]) == (64, 64)
    assert [row["image_id"] for row in rows[:7]] == list(parents.column("image_id"))
    for parent, rebuilt in zip(rows[:7], rows[-7:], strict=True):
        told = {"image_id": f"sd: rebuilt/{parent['image_id']}", "role": "child", "generator": "sd: rebuilt"}
        told |= {name: rebuilt[name] for name in ("path", "sha256", "seed")}
        assert rebuilt == parent | told | {"caption_index": None}
        assert rebuilt["sha256"] != parent["sha256"]


def test_children_have_the_encoding_of_their_parents(finished: Path, parents: Dataset) -> None:
    dataset = Dataset(finished)
    places = dict(zip(parents.column("cluster_id"), parents.column("path"), strict=True))
    good = [row for row in dataset.images.to_pylist() if row["status"] == "ok"]
    for row in good:
        parent = read_file(parents.resolve_path(places[row["cluster_id"]]))
        assert read_encoding(read_file(finished / row["path"])) == read_encoding(parent)
    assert {row["format"] for row in good if row["role"] == "child"} == {"JPEG", "PNG", "WEBP"}


def test_what_the_safety_checker_flags_is_drawn_again_or_told(finished: Path) -> None:
    rows = [row for row in Dataset(finished).images.to_pylist() if row["generator"] == "picky"]
    firsts = [seed_of(0, row["cluster_id"], row["caption_index"], "picky") for row in rows]
    tries = [row["seed"] - first if row["seed"] else None for row, first in zip(rows, firsts, strict=True)]
    assert {0, 1} <= set(tries) <= {0, 1, None}  # about 67, 22 and 11 in a hundred
    for row, tried in zip(rows, tries, strict=True):
        if tried is None:
            assert (row["status"], row["error"]) == ("flagged", "the safety checker flagged it 2 times")
            assert (row["path"], row["sha256"], row["width"]) == ("", None, None)


def test_generators_json_holds_what_decides(finished: Path, loaded: dict[str, Generator]) -> None:
    told = json.loads((finished / "generators.json").read_text())
    more = {"seed": 0, "saved": {"encoding": "matched", "size": None}}
    assert told == {name: generator.record | more for name, generator in loaded.items()}


def test_there_are_no_files_but_those_of_the_rows(finished: Path, expected: dict[str, bytes]) -> None:
    paths = {path for path in Dataset(finished).column("path") if path}
    assert {name for name in expected if name.startswith("images/")} == paths
    others = {name for name in expected if not name.startswith(("images/", "build/"))}
    assert others == {"images.parquet", "captions.parquet", "generators.json"}
    numbers = {name: range(-(-count // PART_SIZE)) for name, count in COUNTS.items()}
    parts = [f"build/{unique_folder_name(name)}/part-0000{n}.parquet" for name in COUNTS for n in numbers[name]]
    records = [f"build/{unique_folder_name(name)}/generator.json" for name in GENERATORS]
    assert {name for name in expected if name.startswith("build/")} == {*parts, *records, "build/index.html"}


def test_a_part_says_how_it_was_made(finished: Path, loaded: dict[str, Generator]) -> None:
    header = BuildPartFormat().read_header(finished / "build" / "sd" / "part-00000.parquet")
    assert (header.batch, header.device) == (1, loaded["sd"].device)
    others = {BuildPartFormat().read_header(path).made_of for path in (finished / "build").rglob("part-*")}
    assert len(others) == 2 + 6 + 6 + 2


# The same bytes, however it is made


@pytest.mark.usefixtures("fast")
def test_a_second_build_is_the_same_bytes_and_a_finished_one_stays(build: Build, expected: dict[str, bytes]) -> None:
    told: list[tuple[str, int, int]] = []
    assert len(run(build, progress=lambda *now: told.append(now)) or ()) == 56
    assert helpers.contents(build.output) == expected
    for name, total in COUNTS.items():
        done = [(now, of) for what, now, of in told if what == name]
        assert done == sorted(done)
        assert done[-1] == (total, total)
    parts = {path: path.stat().st_mtime_ns for path in build.paths}
    told.clear()
    run(build, progress=lambda *now: told.append(now))
    assert helpers.contents(build.output) == expected
    assert {path: path.stat().st_mtime_ns for path in build.paths} == parts
    assert {what for what, _, _ in told} == {PARENTS}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0, 1)], ids=str)
@pytest.mark.usefixtures("fast")
def test_shards_make_the_same_dataset_in_any_order(
    order: tuple[int, ...], build: Build, expected: dict[str, bytes]
) -> None:
    *first, last = ((index, len(order)) for index in order)
    for shard in first:
        assert run(build, shard) is None
        assert not (build.output / "images.parquet").exists()
    assert run(build, last) is not None
    assert helpers.contents(build.output) == expected


@pytest.mark.usefixtures("fast")
def test_a_batch_is_the_same_twice_and_nearly_the_same_as_one(
    models: Path, parents: Dataset, tmp_path: Path, finished: Path
) -> None:
    outputs = [tmp_path / folder / "fakes" for folder in ("one", "two")]
    some = {"picky": GENERATORS["picky"]}
    for output in outputs:
        run(make_build(parents, output, models, some, batch=3, clusters=4))
    assert helpers.contents(outputs[0]) == helpers.contents(outputs[1])
    assert BuildPartFormat().read_header(outputs[0] / "build" / "picky" / "part-00000.parquet").batch == 3
    columns = ["image_id", "seed", "status", "path", "width", "split"]
    together, alone = (pq.read_table(folder / "images.parquet", columns=columns) for folder in (outputs[0], finished))
    assert together.slice(4).equals(alone.slice(7 + 21, 4 * CAPTIONS))


@pytest.mark.usefixtures("fast")
def test_a_generator_added_later_keeps_what_there_is(
    build: Build, models: Path, parents: Dataset, expected: dict[str, bytes]
) -> None:
    run(make_build(parents, build.output, models, {"sd": GENERATORS["sd"]}))
    first = {path: path.stat().st_mtime_ns for path in build.output.rglob("part-*")}
    assert len(Dataset(build.output)) == 7 + 21
    run(build)
    assert helpers.contents(build.output) == expected
    assert {path: path.stat().st_mtime_ns for path in first} == first


@pytest.mark.usefixtures("fast")
def test_parts_that_are_gone_are_made_again(build: Build, expected: dict[str, bytes], finished: Path) -> None:
    shutil.copytree(finished, build.output)
    for name, index in ((PARENTS, 1), ("sd", 0), ("picky", 5), ("sd: rebuilt", 1)):
        build.parts(name).path(index).unlink()
    for path in ("images/sd/0000/0000002.jpg", "images.parquet", "captions.parquet"):
        (build.output / path).unlink()
    run(build)
    assert helpers.contents(build.output) == expected


def test_other_seeds_make_other_children(
    build: Build, loaded: dict[str, Generator], expected: dict[str, bytes]
) -> None:
    other = make_build(build.parents.dataset, build.output, build.root, GENERATORS, seed=1)
    build_children(other, "sd", loaded["sd"], [0])
    made = helpers.contents(build.output / "images")
    assert len(made) == PART_SIZE
    assert not set(made.values()) & set(expected.values())


# What is refused


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"steps": 2}, "steps 1, now it is 2"),
        ({"guidance": 7.0}, "guidance 7.5, now it is 7.0"),
        ({"negative_prompt": "hands"}, "negative_prompt '', now it is 'hands'"),
        ({"redraws": 3}, "redraws 4, now it is 3"),
        ({"scheduler": "DDIMScheduler"}, "scheduler.class 'PNDMScheduler', now it is 'DDIMScheduler'"),
        ({"safety_checker": "off"}, "safety_checker 'its own', now it is 'off'"),
        ({"arguments": {"eta": 0.5}}, "arguments.eta None, now it is 0.5"),
        ({"model": "strict"}, "model 'sd', now it is 'strict'"),
    ],
    ids=str,
)
def test_settings_that_change_in_the_middle_are_refused_by_name(
    more: dict[str, Any], key: str, build: Build, parents: Dataset, models: Path, remembering: dict[str, Remembering]
) -> None:
    build_children(build, "sd", remembering["sd"], [0])
    before = helpers.contents(build.output)
    other = make_build(parents, build.output, models, {"sd": drawing(**{"model": "sd"} | more)})
    with pytest.raises(BuildError) as caught:
        run(other)
    assert f"fakes: children of sd were made with {key}; go back, or move" in str(caught.value)
    assert "\n" not in str(caught.value)
    after = helpers.contents(build.output)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if "/sd/" in name} == {name for name in before if "/sd/" in name}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 1}, "seed 0, now it is 1"),
        ({"size": 32}, "saved.size None, now it is 32"),
        ({"encoding": "off"}, "saved.encoding 'matched', now it is 'off'"),
    ],
    ids=str,
)
def test_seed_and_encoding_are_kept_too(
    change: dict[str, Any], key: str, build: Build, loaded: dict[str, Generator]
) -> None:
    agree(build, "sd", loaded["sd"])
    other = make_build(build.parents.dataset, build.output, build.root, GENERATORS, **change)
    with pytest.raises(BuildError, match=f"made with {key}"):
        build_children(other, "sd", loaded["sd"], [0])


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"steps": 2}, "steps 1, now it is 2"),
        ({"arguments": {"eta": 1}}, "arguments.eta None, now it is 1"),
        ({"model": "sd2"}, "model 'picky', now it is 'sd2'"),
        ({"precision": "float16"}, "precision 'float32', now it is 'float16'"),
        ({"safety_checker": "off"}, "safety_checker 'its own', now it is 'off'"),
        ({"safety_checker": "strict"}, "safety_checker 'its own', now it is 'strict'"),
        ({"scheduler": "DDIMScheduler"}, "scheduler.class 'PNDMScheduler', now it is 'DDIMScheduler'"),
        ({"seed": 3}, "seed 0, now it is 3"),
    ],
    ids=str,
)
def test_settings_that_change_after_all_is_made_are_refused_without_loading_a_model(
    more: dict[str, Any], key: str, build: Build, finished: Path, expected: dict[str, bytes]
) -> None:
    shutil.copytree(finished, build.output)
    seed = more.pop("seed", 0)
    generators = (
        {"sd": GENERATORS["sd"]}
        if seed
        else {"sd": GENERATORS["sd"], "picky": GENERATORS["picky"].model_copy(update=more)}
    )
    with pytest.raises(BuildError, match=f"made with {key}; go back, or move"):
        run(make_build(build.parents.dataset, build.output, Path("nowhere"), generators, seed))
    assert helpers.contents(build.output) == expected


@pytest.mark.parametrize("change", ["captions", "a parent", "clusters", "encoding"])
@pytest.mark.usefixtures("fast")
def test_parts_of_other_parents_captions_or_settings_are_refused(
    change: str, build: Build, models: Path, tmp_path: Path
) -> None:
    run(build)
    before = helpers.contents(build.output)
    dataset = build.parents.dataset
    rows = [ImageRow(**row) for row in dataset.images.to_pylist()]
    captions = dataset.captions.to_pylist()
    if change == "captions":
        captions[4]["caption"] = "something else"
    if change == "a parent":
        rows[1] = ImageRow(**dataset.images.to_pylist()[1] | {"sha256": "0" * 64})
    shutil.copytree(dataset.path, tmp_path / "coco")
    other = write_dataset(tmp_path / "coco", rows, [CaptionRow(**row) for row in captions])
    changes: dict[str, dict[str, Any]] = {"clusters": {"clusters": 6}, "encoding": {"encoding": "fixed"}}
    more = changes.get(change, {})
    message = r"made with saved.encoding 'matched', now it is 'fixed'" if change == "encoding" else "other parents or"
    with pytest.raises(BuildError, match=message):
        run(make_build(other, build.output, models, GENERATORS, **more))
    after = helpers.contents(build.output)
    assert {name: data for name, data in after.items() if name != "build/index.html"} == {
        name: data for name, data in before.items() if name != "build/index.html"
    }


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff"])
def test_a_broken_record_is_named(data: bytes, build: Build, loaded: dict[str, Generator]) -> None:
    agree(build, "sd", loaded["sd"])
    (build.output / "build" / "sd" / "generator.json").write_bytes(data)
    with pytest.raises(BuildError, match=r"sd/generator.json cannot be read; move its folder away and build again"):
        agree(build, "sd", loaded["sd"])


@pytest.mark.usefixtures("fast")
def test_parents_that_have_changed_since_their_import_are_rows_with_an_error(
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
    made = run(make_build(moved, tmp_path / "fakes", models, {"sd": GENERATORS["sd"]}))
    assert made is not None
    bad = [row for row in made.images.to_pylist() if row["status"] != "ok"]
    assert [row["image_id"] for row in bad] == [
        *("1.jpg", "5.jpg"),
        *(f"sd/{number}.jpg/{index}" for number in (1, 5) for index in range(CAPTIONS)),
    ]
    assert {(row["status"], row["role"]) for row in bad} == {
        *(("corrupt", "parent"), ("missing", "parent")),
        *(("corrupt", "child"), ("missing", "child")),
    }
    assert all((row["path"], row["sha256"], row["seed"]) == ("", None, None) for row in bad)
    assert all("is another file than when it was imported" in row["error"] for row in bad if row["status"] == "corrupt")


# A full disk


@pytest.mark.parametrize("after", [0, 3, 5, 9, 10, 30])
@pytest.mark.usefixtures("fast")
def test_a_full_disk_is_one_line_and_goes_on_to_the_same_bytes(
    after: int, build: Build, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = Path.write_bytes, iter(range(after))

    def full(path: Path, data: bytes) -> int:
        if next(left, None) is None:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(
            BuildError, match=r"fakes: the disk is full; what is done is kept: make room and start again"
        ):
            run(build)
    assert not (build.output / "images.parquet").exists()
    assert not list(build.output.rglob("*.tmp"))
    kept = {name: data for name, data in helpers.contents(build.output).items() if "/part-" in name}
    assert kept.items() <= expected.items()
    run(build)
    assert helpers.contents(build.output) == expected


@pytest.mark.usefixtures("fast")
def test_a_disk_that_is_full_at_the_last_table_leaves_no_dataset(
    build: Build, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pq.ParquetWriter.write_table

    def full(writer: pq.ParquetWriter, table: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        patch.setattr(pq, "write_table", lambda table, where: _write_whole(write, table, where))
        with pytest.raises(BuildError, match=r"the disk is full"):
            run(build)
    assert not (build.output / "images.parquet").exists()
    assert not list(build.output.rglob("*.tmp"))
    run(build)
    assert helpers.contents(build.output) == expected


def _write_whole(write: Callable[..., None], table: Any, where: Path) -> None:
    with pq.ParquetWriter(where, table.schema) as writer:
        write(writer, table)


# The kill test: SIGKILL at random moments, then a resume.


def work(build: Build, stage: str, reached: Event) -> None:
    """Build in a process of its own, tell when `stage` is reached, and never end, so that no kill is too late."""
    torch.set_num_threads(1)
    run(build, progress=lambda what, *_: reached.set() if what == stage else None)
    reached.set()
    while True:
        time.sleep(1)


@pytest.mark.parametrize("seed", range(KILLS // 4))
@pytest.mark.usefixtures("fast")
def test_what_is_killed_again_and_again_is_resumed_to_the_same_bytes(
    seed: int, build: Build, expected: dict[str, bytes], server: ForkServerContext
) -> None:
    draw = random.Random(seed)
    for stage, longest in ((PARENTS, 0.02), ("sd", 0.3), ("sd", 0.3), ("picky", 0.3)):
        reached = server.Event()
        process = server.Process(target=work, args=(build, stage, reached))
        process.start()
        assert reached.wait(60)
        time.sleep(draw.uniform(0, longest))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        left = helpers.contents(build.output)
        for name in left:  # whatever has its name is whole
            if "/part-" in name or name in ("images.parquet", "build/sd/generator.json"):
                assert left[name] == expected[name]
        assert set(left) - {name for name in left if name.endswith(".tmp")} <= set(expected)
    helpers.age_temporary_files(build.output)
    run(build)
    assert helpers.contents(build.output) == expected


def die_at(build: Build, method: str, name: str, half: bool) -> None:
    """Build until a file of this name is to be written, or renamed, and be killed there."""
    torch.set_num_threads(1)
    before = getattr(Path, method)

    def dying(path: Path, *given: Any) -> Any:
        if name in path.name:
            if half:
                before(path, given[0][: len(given[0]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return before(path, *given)

    setattr(Path, method, dying)
    run(build)


@pytest.mark.parametrize(
    ("method", "name", "half", "missing"),
    [
        ("write_bytes", "0000005", True, "images/parents/*/0000005.*"),
        ("write_bytes", "0000013", True, "images/sd/*/0000013.*"),
        ("replace", ".part-00003", False, "build/sd/part-00003.parquet"),
        ("replace", ".generator.json", False, "build/sd/*"),
        ("replace", ".generators.json", False, "generators.json"),
        ("replace", ".captions.parquet", False, "captions.parquet"),
        ("replace", ".images.parquet", False, "images.parquet"),
        ("replace", ".index.html", False, "build/index.html"),
    ],
)
@pytest.mark.usefixtures("fast")
def test_a_file_that_was_being_written_is_written_again(
    method: str,
    name: str,
    half: bool,
    missing: str,
    build: Build,
    finished: Path,
    expected: dict[str, bytes],
    server: ForkServerContext,
) -> None:
    shutil.copytree(finished, build.output)
    gone = [*build.output.glob(missing), build.output / "images.parquet"]
    if missing.startswith("images/"):  # the part that the image is in
        (gone_image, *_) = gone
        number = int(gone_image.stem)
        gone.append(build.parts(gone_image.parts[-3]).path(number // PART_SIZE))
    for path in set(gone):
        path.unlink()
    process = server.Process(target=die_at, args=(build, method, name, half))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (build.output / "images.parquet").exists()
    assert any(path.name.startswith(name) for path in build.output.rglob("*"))
    helpers.age_temporary_files(build.output)
    run(build)
    assert helpers.contents(build.output) == expected
